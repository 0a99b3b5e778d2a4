"""One pass over a workflow: the controller's `operate` (controller/operator.go)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from hera.workflows import models as m

from meta.sandbox.argo.expressions import Value, to_json
from meta.sandbox.argo.operator.config_maps import ParameterError, global_value
from meta.sandbox.argo.operator.context import ON_EXIT, Call, Context, OperationError, PodRequest
from meta.sandbox.argo.operator.execute import end_message, execute
from meta.sandbox.argo.operator.from_template import take_template
from meta.sandbox.argo.operator.global_outputs import export_outputs
from meta.sandbox.argo.operator.hooks import exit_hook, run_workflow_hooks
from meta.sandbox.argo.operator.limits import end_of_wait
from meta.sandbox.argo.operator.locks import LockError
from meta.sandbox.argo.operator.memoize import remember
from meta.sandbox.argo.operator.nodes import Nodes
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.operator.suspend import is_waiting
from meta.sandbox.argo.operator.templates import Find, nowhere
from meta.sandbox.argo.state.names import pod_name
from meta.sandbox.argo.state.status import JsonObject, NodeFlag, NodeStatus, NodeType, Phase, Shutdown, k8s_time
from meta.sandbox.argo.state.workflow import (
    ANNOTATION_POD_NAMES,
    ANNOTATION_SCHEDULED,
    LABEL_COMPLETED,
    LABEL_PHASE,
    Workflow,
)
from meta.sandbox.kubernetes_objects import KubernetesObjects

CREATION_FORMATS = "aAbBdHIjmMpSUwWyY"  # of `workflow.creationTimestamp.`, as strftime has them


@dataclass(frozen=True)
class Outcome:
    """What a pass asks the controller to do."""

    pods: dict[str, PodRequest] = field(default_factory=dict[str, PodRequest])
    kills: dict[str, str] = field(default_factory=dict[str, str])
    wake_at: datetime | None = None


def operate(
    workflow: Workflow, now: datetime, live: frozenset[str] = frozenset(), find: Find = nowhere,
    shared: Shared | None = None,
) -> Outcome:  # fmt: skip
    """Bring a workflow as far as it goes now; changes its status in place.

    Args:
        workflow: the workflow.
        now: the time, whole seconds.
        live: ids of nodes whose pods are being run already.
        find: reads WorkflowTemplates and ClusterWorkflowTemplates.
        shared: what the workflows of a server have in common; None where it is alone.
    """
    shared = shared or Shared()
    shared.locks.settle(workflow)
    try:
        return _operate(workflow, now, live, find, shared)
    finally:
        shared.locks.settle(workflow)


def _operate(workflow: Workflow, now: datetime, live: frozenset[str], find: Find, shared: Shared) -> Outcome:
    status = workflow.status
    if status.phase.completed:
        return Outcome()
    given = partial(global_values, objects=shared.objects)
    try:
        if status.phase is Phase.UNKNOWN and (missing := take_template(workflow, find, given)) is not None:
            mark_workflow(workflow, Phase.ERROR, now, missing)
            return Outcome()
        values = given(workflow)
    except ParameterError as error:
        mark_workflow(workflow, Phase.FAILED, now, f"failed to set global parameters: {error}")
        return Outcome()
    context = Context(workflow, now, execute, values, live=live, find=find, shared=shared)
    if not _has_locks(context):
        return Outcome()
    deadline = _deadline(workflow)
    context.overdue = deadline is not None and now >= deadline
    if deadline is not None and not context.overdue:
        context.wake(deadline)
    _control(context)
    if not context.kills:  # pods on their way out come first: a workflow ends after its processes
        _advance(context)
    context.nodes.update_progress()
    running = any(n.type is NodeType.POD and n.phase is Phase.RUNNING for n in context.nodes.all())
    if status.phase is not Phase.UNKNOWN:
        status.set_condition("PodRunning", "True" if running else "False")
    return Outcome(context.pods, context.kills, context.wake_at)


def _has_locks(context: Context) -> bool:
    """Whether the workflow's own locks are held; it is Pending as long as they are not."""
    workflow = context.workflow
    wanted, status = workflow.spec.synchronization, workflow.status
    if wanted is None:
        return True
    try:
        refusal = context.shared.locks.acquire(workflow, wanted)
    except LockError as error:
        mark_workflow(workflow, Phase.FAILED, context.now, f"Failed to acquire the synchronization lock. {error}")
        return False
    if refusal is None:
        return True
    if workflow.shutdown is Shutdown.TERMINATE and status.phase is Phase.PENDING:  # a stop waits for the locks
        mark_workflow(workflow, Phase.FAILED, context.now, f"Stopped with strategy '{workflow.shutdown}'")
    else:
        phase = Phase.PENDING if status.phase is Phase.UNKNOWN else status.phase
        mark_workflow(workflow, phase, context.now, refusal.message)
    return False


def _advance(context: Context) -> None:
    workflow = context.workflow
    if workflow.status.phase in {Phase.UNKNOWN, Phase.PENDING}:
        mark_workflow(workflow, Phase.RUNNING, context.now)
        workflow.metadata.annotations.setdefault(ANNOTATION_POD_NAMES, "v2")
        if (deadline := _deadline(workflow)) is not None:
            context.wake(deadline)
    spec = workflow.spec
    if spec.suspend and workflow.shutdown is Shutdown.NONE:
        return
    try:
        root = context.execute(context, Call(workflow.name, spec.entrypoint or "", spec.arguments))
    except OperationError as error:
        mark_workflow(workflow, Phase.ERROR, context.now, f"error in entry template execution: {error}")
        return
    if root is None:
        return
    phase = Phase.SUCCEEDED if root.phase in {Phase.SKIPPED, Phase.OMITTED} else root.phase
    ending = _Ending(phase, root.message)
    if root.phase.unsuccessful and workflow.shutdown is not Shutdown.NONE:
        ending.message = f"Stopped with strategy '{workflow.shutdown}'"
    if _run_handlers(context, root, ending):
        mark_workflow(workflow, ending.phase, context.now, ending.message)


@dataclass
class _Ending:
    phase: Phase
    message: str | None


def _run_handlers(context: Context, root: NodeStatus, ending: _Ending) -> bool:
    """Run the workflow's hooks, and its exit handler at the end; whether all is over."""
    spec = context.workflow.spec
    handler = exit_hook(spec.on_exit, spec.hooks, spec.arguments)
    if spec.hooks or (handler is not None and root.fulfilled):
        _add_results(context, ending.phase)
    try:
        if not run_workflow_hooks(context, root) or not root.fulfilled:
            return False
    except OperationError as error:
        context.nodes.mark(root, Phase.ERROR, str(error))
        ending.phase, ending.message = Phase.ERROR, str(error)
    if handler is None:
        return True
    try:
        allowed, node = _exit_handler(context, handler)
    except OperationError as error:
        ending.phase, ending.message = Phase.ERROR, f"error in exit template execution : {error}"
        return True
    if allowed and (node is None or not node.fulfilled):
        return False
    if node is not None and ending.phase is Phase.SUCCEEDED and node.phase.unsuccessful:
        ending.phase, ending.message = node.phase, node.message
    return True


def _exit_handler(context: Context, hook: m.LifecycleHook) -> tuple[bool, NodeStatus | None]:
    """Whether the exit handler is to run, and its node once there is one."""
    name = context.workflow.name + ON_EXIT
    if context.nodes.get(name) is None and not context.workflow.shutdown.allows(on_exit=True):
        return False, None
    call = Call(name, hook.template or "", hook.arguments, on_exit=True, flag=NodeFlag(hooked=True))
    return True, context.execute(context, call)


def _add_results(context: Context, phase: Phase) -> None:
    """What exit handlers and hooks can read of the workflow: its status, duration and failures."""
    workflow = context.workflow
    failures = [
        {
            "displayName": n.display_name,
            "message": n.message or "",
            "templateName": n.template_of_pod,
            "phase": str(n.phase),
            "podName": pod_name(workflow.name, n.name, n.template_of_pod),
            "finishedAt": k8s_time(n.finished_at) if n.finished_at else None,
        }
        for n in context.nodes.all()
        if n.phase.unsuccessful
    ]
    text = json.dumps(failures or None, separators=(",", ":"), ensure_ascii=False)
    started = workflow.status.started_at or context.now
    context.values |= {
        "workflow.status": str(phase),
        "workflow.failures": json.dumps(text, ensure_ascii=False),  # quoted once more, for use in a shell
        "workflow.duration": f"{(context.now - started).total_seconds():f}",
    }


def _control(context: Context) -> None:
    """Shutdown, the workflow's deadline and pods' waits, for what has not ended (applyExecutionControl)."""
    for node in context.nodes.all():
        waits = is_waiting(node) or node.waits_for_lock or node.type is NodeType.HTTP
        if node.fulfilled or (node.type is not NodeType.POD and not waits):
            continue
        message = end_message(context, node.name)
        if message is None and node.phase is Phase.PENDING and (end := end_of_wait(context, node)) is not None:
            context.wake(end)
            message = "timeout" if context.now >= end else None
        if message is None:
            continue
        if node.phase is Phase.RUNNING and node.type is NodeType.POD:
            context.kills[node.id] = message
        else:
            shutdown = context.workflow.shutdown
            said = f"Stopped with strategy '{shutdown}'" if shutdown and waits else message
            context.nodes.mark(node, Phase.FAILED, said)


def finish_pod(workflow: Workflow, node: NodeStatus, now: datetime, *, phase: Phase, message: str | None,
               outputs: m.Outputs | None, shared: Shared | None = None) -> None:  # fmt: skip
    """Write the end of a pod into its node, its global outputs into the workflow, and a result into its cache."""
    context = Context(workflow, now, execute, shared=shared or Shared())
    node.outputs = outputs
    context.nodes.mark(node, phase, message or "")
    if node.type is NodeType.POD:
        _count_pod(context, node)
    remember(context, node)
    export_outputs(context, outputs)


def _count_pod(context: Context, node: NodeStatus) -> None:
    workflow, now = context.workflow, context.now
    seconds = int(((node.finished_at or now) - (node.started_at or now)).total_seconds())
    node.resources_duration = {"cpu": seconds // 10, "memory": seconds}  # of a container without requests: 100m, 100Mi
    results = workflow.status.task_results_completion_status or {}
    workflow.status.task_results_completion_status = {**results, node.id: True}
    for child in context.nodes.all():
        if child.type is NodeType.CONTAINER and child.boundary_id == node.id and not child.fulfilled:
            context.nodes.mark(child, Phase.FAILED, "Pod Failed whilst container running")


def mark_container(
    workflow: Workflow, node_id: str, container: str, now: datetime, *, phase: Phase, message: str | None
) -> None:
    """Set the phase of the node of a container set's container (assessNodeStatus)."""
    nodes, pod = Nodes(workflow, now), workflow.status.nodes.get(node_id)
    node = nodes.get(f"{pod.name}.{container}") if pod is not None else None
    if node is not None and not node.fulfilled:
        nodes.mark(node, phase, message)


def _deadline(workflow: Workflow) -> datetime | None:
    seconds, started = workflow.spec.active_deadline_seconds, workflow.status.started_at
    return None if seconds is None or started is None else started + timedelta(seconds=seconds)


def mark_workflow(workflow: Workflow, phase: Phase, now: datetime, message: str | None = None) -> None:
    """Set the workflow's phase, its labels, times and conditions (markWorkflowPhase)."""
    status, labels = workflow.status, workflow.metadata.labels
    status.phase = phase
    status.message = message or None
    labels[LABEL_PHASE] = str(phase)
    labels.setdefault(LABEL_COMPLETED, "false")
    if status.started_at is None and phase is not Phase.PENDING:
        status.started_at = now
    if phase.completed:
        Nodes(workflow, now).update_resources()
        status.finished_at = now
        labels[LABEL_COMPLETED] = "true"
        status.set_condition("Completed", "True")


def global_values(workflow: Workflow, objects: KubernetesObjects) -> dict[str, str | None]:
    """What the tags `workflow.*` stand for (setGlobalParameters).

    Raises:
        ParameterError: a parameter's ConfigMap does not give its value.
    """
    meta, spec = workflow.metadata, workflow.spec
    values: dict[str, str | None] = {
        "workflow.name": meta.name,
        "workflow.namespace": meta.namespace,
        "workflow.uid": meta.uid,
        "workflow.mainEntrypoint": spec.entrypoint,
        "workflow.serviceAccountName": spec.service_account_name or "default",
        "workflow.creationTimestamp": k8s_time(meta.created),
        "workflow.creationTimestamp.RFC3339": k8s_time(meta.created),
        "workflow.creationTimestamp.s": str(int(meta.created.timestamp())),
    }
    values |= {f"workflow.creationTimestamp.{c}": meta.created.strftime(f"%{c}") for c in CREATION_FORMATS}
    if ANNOTATION_SCHEDULED in meta.annotations:
        values["workflow.scheduledTime"] = meta.annotations[ANNOTATION_SCHEDULED]
    if spec.priority is not None:
        values["workflow.priority"] = str(spec.priority)
    parameters = (spec.arguments.parameters if spec.arguments else None) or []
    listed = to_json(cast("list[Value]", [_shown(p) for p in parameters]))
    values["workflow.parameters"] = values["workflow.parameters.json"] = listed
    for parameter in parameters:
        values[f"workflow.parameters.{parameter.name}"] = global_value(parameter, objects)
    for kind, entries in (("labels", meta.labels), ("annotations", meta.annotations)):
        values[f"workflow.{kind}"] = values[f"workflow.{kind}.json"] = to_json({**entries})
        values |= {f"workflow.{kind}.{key}": value for key, value in entries.items()}
    for parameter in (workflow.status.outputs.parameters if workflow.status.outputs else None) or []:
        values[f"workflow.outputs.parameters.{parameter.name}"] = parameter.value
    return values


def _shown(parameter: m.Parameter) -> JsonObject:
    if parameter.value is None and parameter.value_from is not None:
        source = parameter.value_from.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {"name": parameter.name, "valueFrom": source}
    return {"name": parameter.name, "value": parameter.value}
