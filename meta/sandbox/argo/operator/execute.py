"""One use of a template: its arguments, its retries, and by its type a pod, steps or a DAG (executeTemplate)."""

from __future__ import annotations

import re
from datetime import timedelta

from hera.workflows import models as m

from meta.sandbox.argo.operator import dag, memoize, retries, steps, suspend
from meta.sandbox.argo.operator.arguments import process_arguments
from meta.sandbox.argo.operator.context import ON_EXIT, Call, Context, OperationError, PodRequest
from meta.sandbox.argo.operator.limits import held_back, within_deadline
from meta.sandbox.argo.operator.locks import LockError
from meta.sandbox.argo.operator.tags import SubstitutionError, replace
from meta.sandbox.argo.operator.templates import template_of
from meta.sandbox.argo.state.names import pod_name
from meta.sandbox.argo.state.status import NodeFlag, NodeStatus, NodeType, Phase

MAX_DEPTH = 100
MAX_INSTANT_ATTEMPTS = 10  # of one template in one pass
_DISPLAY_NAME = "workflows.argoproj.io/display-name"
_SHOWN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]")
_GROUPS = (("steps", NodeType.STEPS), ("dag", NodeType.DAG), ("suspend", NodeType.SUSPEND), ("http", NodeType.HTTP))
_SUFFIX = re.compile(r"(\([^()]*\)|\[\d+\])+$")


def execute(context: Context, call: Call) -> NodeStatus | None:
    """Bring one use of a template as far as it goes now.

    Returns:
        Its node; None where it could not begin yet (parallelism).

    Raises:
        OperationError: it cannot run; its node, if there is one, is in phase Error already.
    """
    context.depth += 1
    try:
        if context.depth > MAX_DEPTH:
            raise OperationError("max stack depth exceeded: templates call each other without end")
        return _execute(context, call)
    except (OperationError, SubstitutionError) as error:
        node = context.nodes.get(call.node_name)
        if node is None:
            context.nodes.start(
                call.node_name, NodeType.SKIPPED, phase=Phase.ERROR, boundary_id=call.boundary_id,
                template=call.template, flag=call.flag, message=str(error),
            )  # fmt: skip
        elif not node.fulfilled:
            context.nodes.mark(node, Phase.ERROR, str(error))
        raise OperationError(str(error)) from error
    finally:
        context.depth -= 1


def _execute(context: Context, call: Call) -> NodeStatus | None:
    node = context.nodes.get(call.node_name)
    if node is not None and (node.fulfilled or node.id in context.live):
        return node
    template = context.template_for(call)
    strategy = template.retry_strategy or context.workflow.spec.retry_strategy
    values: dict[str, str | None] = {**context.values, "node.name": call.node_name}
    if call.caller is not None:
        values[f"{call.caller[0]}.name"] = call.caller[1]
    if is_pod(template) and strategy is None:
        values["pod.name"] = pod_name(context.workflow.name, call.node_name, template_of(call.template))
    template = process_arguments(template, call.arguments, values, context.shared.objects)
    if held_back(context, call, template, node):
        return node
    name = _display_name(template)
    node = _run(context, call, template, node)
    node.display_name = name or node.display_name
    return node


def _display_name(template: m.Template) -> str | None:
    name = (template.annotations or {}).get(_DISPLAY_NAME)
    if name and not _SHOWN.fullmatch(name):
        raise OperationError(f"displayName must match the regex ^{_SHOWN.pattern}$")
    return name


def _run(context: Context, call: Call, template: m.Template, node: NodeStatus | None) -> NodeStatus:
    strategy = template.retry_strategy or context.workflow.spec.retry_strategy  # now with its tags replaced
    kind = next((kind for name, kind in _GROUPS if getattr(template, name) is not None), NodeType.POD)
    kind = NodeType.RETRY if strategy is not None else kind
    begins = node is None or node.waits_for_lock
    if template.synchronization is not None:
        try:
            refusal = context.shared.locks.acquire(
                context.workflow, template.synchronization, context.nodes.id(call.node_name)
            )
        except LockError as error:
            raise OperationError(str(error)) from error
        if refusal is not None:
            node = node or _wait(context, call, template, kind)
            node.synchronization_status = m.NodeSynchronizationStatus(waiting=refusal.lock)
            node.message = refusal.message
            return node
        if node is not None and node.waits_for_lock:
            node.synchronization_status = node.message = None
    if template.memoize is not None and begins:
        status, outputs = memoize.look_up(context, template.memoize)
        node = node or _wait(context, call, template, kind)
        node.memoization_status = status
        if status.hit:
            node.outputs = outputs
            return context.nodes.mark(node, Phase.SUCCEEDED)
    if strategy is None:
        return _dispatch(context, call, template)
    return _with_retries(context, call, template, strategy)


def _wait(context: Context, call: Call, template: m.Template, kind: NodeType) -> NodeStatus:
    """A node that has not begun; steps and DAGs stay Pending until they end, as on a cluster."""
    node = context.nodes.start(
        call.node_name, kind, phase=Phase.PENDING, boundary_id=call.boundary_id, template=call.template,
        inputs=template.inputs, flag=call.flag,
    )  # fmt: skip
    memoize.mark(node, template.memoize)
    return node


def _with_retries(context: Context, call: Call, template: m.Template, strategy: m.RetryStrategy) -> NodeStatus:
    nodes = context.nodes
    parent = nodes.get(call.node_name)
    if parent is None:
        parent = nodes.start(
            call.node_name, NodeType.RETRY, phase=Phase.RUNNING, boundary_id=call.boundary_id,
            template=call.template, inputs=template.inputs, flag=call.flag,
        )  # fmt: skip
    for _ in range(MAX_INSTANT_ATTEMPTS):
        attempts = nodes.retries(parent)
        last = attempts[-1] if attempts else None
        if last is not None and last.fulfilled:
            if not retries.assess(context, parent, attempts, strategy, on_exit=is_on_exit(call.node_name)):
                return parent
            last = None
        number = len(attempts) - 1 if last is not None else len(attempts)
        name = f"{call.node_name}({number})"
        values = {"retries": str(number), **retries.last_retry(attempts[:number])}
        if is_pod(template):
            values["pod.name"] = pod_name(context.workflow.name, name, template_of(call.template))
        nodes.connect(call.node_name, name)
        flag = NodeFlag(retried=True, hooked=call.flag.hooked if call.flag else None)
        deadline = retries.retry_deadline(attempts[:number], strategy.backoff)
        attempt = Call(name, call.template, None, call.boundary_id, call.caller, call.on_exit, flag, deadline=deadline)
        try:
            if not _dispatch(context, attempt, replace(template, values)).fulfilled:
                return parent
        except OperationError as error:
            if (strategy.retry_policy or "OnFailure") == "OnFailure" and not strategy.expression:
                raise
            failed = nodes.get(name)  # counts as an attempt that went wrong
            if failed is None:
                raise
            nodes.mark(failed, Phase.ERROR, str(error))
    context.wake(context.now + timedelta(seconds=1))  # attempts that fail without a pod must not hold up the server
    return parent


def _dispatch(context: Context, call: Call, template: m.Template) -> NodeStatus:
    if template.steps is not None:
        node = steps.run_steps(context, call, template)
    elif template.dag is not None:
        node = dag.run_dag(context, call, template)
    elif template.suspend is not None:
        node = suspend.run_suspend(context, call, template)
    else:
        node = _pod(context, call, template)
    memoize.mark(node, template.memoize)
    memoize.remember(context, node)  # a pod is over only later: finish_pod
    return node


def _pod(context: Context, call: Call, template: m.Template) -> NodeStatus:
    node = context.nodes.get(call.node_name)
    if node is None:
        node = context.nodes.start(
            call.node_name, NodeType.POD if is_pod(template) else NodeType.HTTP, phase=Phase.PENDING,
            boundary_id=call.boundary_id, template=call.template, inputs=template.inputs, flag=call.flag,
        )  # fmt: skip
    if node.phase is Phase.PENDING:
        _start_containers(context, call, node, template.container_set)
        if (message := end_message(context, call.node_name)) is not None:
            context.nodes.mark(node, Phase.FAILED, message)
    if not node.fulfilled:
        context.pods[node.id] = PodRequest(
            node.id,
            pod_name(context.workflow.name, call.node_name, template_of(call.template)),
            within_deadline(context, call, template, node),
            _wants_result(context, call),
        )
    return node


def _start_containers(context: Context, call: Call, pod: NodeStatus, containers: m.ContainerSetTemplate | None) -> None:
    """A node for each container of a set, connected as their dependencies say (executeContainerSet)."""
    for container in containers.containers if containers else []:
        name = f"{call.node_name}.{container.name}"
        if context.nodes.get(name) is not None:
            continue
        context.nodes.start(
            name, NodeType.CONTAINER, phase=Phase.PENDING, boundary_id=pod.id, template=call.template, flag=call.flag
        )  # fmt: skip
        for need in container.dependencies or []:
            context.nodes.connect(f"{call.node_name}.{need}", name)
        if not container.dependencies:
            context.nodes.connect(call.node_name, name)


def is_pod(template: m.Template) -> bool:
    return any(
        kind is not None for kind in (template.container, template.script, template.container_set, template.resource)
    )


def is_on_exit(node_name: str) -> bool:
    """Whether a node belongs to an exit handler, which a stop lets run."""
    return ON_EXIT in node_name


def end_message(context: Context, node_name: str) -> str | None:
    """Why a pod must not run (any more), in the real controller's words; None when it may."""
    on_exit = is_on_exit(node_name)
    if not context.workflow.shutdown.allows(on_exit=on_exit):
        return f"workflow shutdown with strategy:  {context.workflow.shutdown}"
    return "Step exceeded its deadline" if context.overdue and not on_exit else None


def _wants_result(context: Context, call: Call) -> bool:
    """Whether the calling template reads `outputs.result`: the real executor keeps it only then."""
    boundary = context.nodes.by_id(call.boundary_id)
    if boundary is None or boundary.template is None:
        return False
    name = _SUFFIX.sub("", call.node_name).rsplit(".", 1)[-1]
    parent = context.template(boundary.template)
    kind = "tasks" if parent.dag is not None else "steps"
    text = parent.model_dump_json(by_alias=True, exclude_none=True)
    wanted = rf"{kind}(\.{re.escape(name)}|\[(['\"]|\\\"){re.escape(name)}(['\"]|\\\")\])\.outputs\.result"
    return re.search(wanted, text) is not None
