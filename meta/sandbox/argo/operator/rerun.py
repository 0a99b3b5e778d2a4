"""Retry of a finished workflow in place: what succeeded stays, what failed runs again (FormulateRetryWorkflow)."""

from __future__ import annotations

from datetime import datetime

from meta.sandbox.argo.operator.context import ON_EXIT
from meta.sandbox.argo.state.status import NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import LABEL_COMPLETED, Workflow

_GROUPS = {NodeType.STEPS, NodeType.STEP_GROUP, NodeType.DAG, NodeType.TASK_GROUP, NodeType.RETRY}


class NotRetryableError(Exception):
    """The workflow's phase does not allow a retry."""


def rerun(workflow: Workflow, now: datetime) -> list[NodeStatus]:
    """Open a failed workflow again: same name, same UID, the next pass starts what failed.

    Returns:
        The pods' nodes that were taken out.

    Raises:
        NotRetryableError: it has not failed.
    """
    status = workflow.status
    if status.phase is Phase.SUCCEEDED:
        raise NotRetryableError(
            "To retry a succeeded workflow, set the options restartSuccessful and nodeFieldSelector"
        )
    if not status.phase.unsuccessful:
        raise NotRetryableError(f"Cannot retry a workflow in phase {status.phase}")
    nodes = status.nodes
    failed = [n for n in nodes.values() if n.type is NodeType.POD and n.phase.unsuccessful]
    gone = {key for node in failed for key in _below(nodes, node.id)}
    gone |= {key for key, node in nodes.items() if node.name.startswith(workflow.name + ON_EXIT)}
    removed = [node for key, node in nodes.items() if key in gone and node.type is NodeType.POD]
    for node in failed:
        for above in _above(nodes, node):
            if above.id not in gone:
                _reopen(above, now)
    for key in gone:
        del nodes[key]
    for node in nodes.values():
        node.children = [child for child in node.children if child not in gone]
        node.outbound_nodes = [child for child in node.outbound_nodes if child not in gone]
    workflow.metadata.labels.pop(LABEL_COMPLETED, None)
    workflow.change_spec(shutdown=None)
    status.set_condition("Completed", "False")
    status.phase, status.message = Phase.UNKNOWN, None
    status.started_at, status.finished_at = now, None
    return removed


def _below(nodes: dict[str, NodeStatus], identity: str) -> set[str]:
    found: set[str] = set()
    queue = [identity]
    while queue:
        key = queue.pop()
        if key in nodes and key not in found:
            found.add(key)
            queue.extend(nodes[key].children)
    return found


def _above(nodes: dict[str, NodeStatus], node: NodeStatus) -> list[NodeStatus]:
    """The retry node and the group that hold a node, the template's own node, and so on up to the root."""
    found: list[NodeStatus] = []
    current: NodeStatus | None = node
    while current is not None:
        holders = [n for n in nodes.values() if n.type in _GROUPS and current.id in n.children]
        retry = next((n for n in holders if n.type is NodeType.RETRY), None)
        if retry is not None:
            found.append(retry)
            holders += [n for n in nodes.values() if n.type in _GROUPS and retry.id in n.children]
        found += [n for n in holders if n.type in {NodeType.STEP_GROUP, NodeType.TASK_GROUP}]
        current = nodes.get(current.boundary_id or "")
        if current is not None:
            found.append(current)
    return found


def _reopen(node: NodeStatus, now: datetime) -> None:
    if node.phase is not Phase.SKIPPED:
        node.phase = Phase.RUNNING
    node.message = None
    node.started_at, node.finished_at = now, None
