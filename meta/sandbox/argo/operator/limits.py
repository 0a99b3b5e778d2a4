"""What holds a template back: parallelism, `failFast` (checkParallelism), and the deadlines of pods."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Call, Context
from meta.sandbox.argo.operator.durations import duration
from meta.sandbox.argo.operator.tags import replace_string
from meta.sandbox.argo.state.status import NodeStatus, NodeType, Phase

FAIL_FAST = "template has failed or errored children and failFast enabled"
_COUNTED = frozenset({NodeType.POD, NodeType.STEPS, NodeType.DAG})
_ACTIVE = frozenset({Phase.PENDING, Phase.RUNNING})


def held_back(context: Context, call: Call, template: m.Template, node: NodeStatus | None) -> bool:
    """Whether a template must wait now; a template that fails fast, and has failed, is marked so."""
    if node is not None and node.type is NodeType.POD and not node.waits_for_lock:
        return False  # it was let through before
    limit = context.workflow.spec.parallelism
    if limit is not None and _active_pods(context) >= limit:
        return True
    if (
        node is not None
        and node.type in {NodeType.DAG, NodeType.STEPS}
        and _is_full(context, template, node, inner=True)
    ):
        return True
    boundary = context.nodes.by_id(call.boundary_id)
    if boundary is None or boundary.template is None or (node is not None and node.phase in _ACTIVE):
        return False
    return _is_full(context, context.template(boundary.template), boundary, inner=False)


def _is_full(context: Context, template: m.Template, node: NodeStatus, *, inner: bool) -> bool:
    """Whether nothing more may begin in a steps or dag template; seen from itself, only its pods count."""
    if _fails_fast(context, template, node):
        return True
    counts = _is_active_pod if inner else _is_active
    return bool(template.parallelism) and _count(context, node.id, counts) >= (template.parallelism or 0)


def _active_pods(context: Context) -> int:
    """Pods that exist; after a restart of the server none does, whatever the nodes say."""
    return len({node.id for node in context.nodes.all() if _is_active_pod(node)} & {*context.live, *context.pods})


def _count(context: Context, boundary_id: str, counts: Callable[[NodeStatus], bool]) -> int:
    return sum(1 for node in context.nodes.all() if node.boundary_id == boundary_id and counts(node))


def _is_active(node: NodeStatus) -> bool:
    return node.type in _COUNTED and node.phase in _ACTIVE


def _is_active_pod(node: NodeStatus) -> bool:
    return node.type is NodeType.POD and node.phase in _ACTIVE and not node.waits_for_lock


def _is_unsuccessful(node: NodeStatus) -> bool:
    return node.type in _COUNTED and node.phase.unsuccessful


def _fails_fast(context: Context, template: m.Template, node: NodeStatus) -> bool:
    if not template.fail_fast or not _count(context, node.id, _is_unsuccessful):
        return False
    if not _count(context, node.id, _is_active_pod):
        groups = [n for n in context.nodes.all() if n.boundary_id == node.id and n.type is NodeType.STEP_GROUP]
        for fallen in (*groups[-1:], node):
            context.nodes.mark(fallen, Phase.FAILED, FAIL_FAST)
    return True


def within_deadline(context: Context, call: Call, template: m.Template, node: NodeStatus) -> m.Template:
    """A pod's template whose `activeDeadlineSeconds` holds what `timeout` and its retries leave.

    Raises:
        OperationError: `timeout` is no duration.
    """
    ends = [call.deadline] if call.deadline is not None else []
    if template.timeout:
        ends.append((node.started_at or context.now) + duration(template.timeout))
    if not ends:
        return template
    seconds = [max(1, int((end - context.now).total_seconds())) for end in ends]
    given = str(getattr(template.active_deadline_seconds, "root", ""))
    if given.isdigit():
        seconds.append(int(given))
    return template.model_copy(update={"active_deadline_seconds": m.IntOrString(root=min(seconds))})


def end_of_wait(context: Context, node: NodeStatus) -> datetime | None:
    """When a pod that has not begun is given up (`timeout`)."""
    text = context.template(node.template).timeout if node.template else None
    if not text or node.started_at is None:
        return None
    inputs = (node.inputs.parameters if node.inputs else None) or []
    values = {**context.values, **{f"inputs.parameters.{p.name}": p.value for p in inputs}}
    return node.started_at + duration(replace_string(text, values))
