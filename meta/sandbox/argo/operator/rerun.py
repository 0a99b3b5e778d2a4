"""Retry of a finished workflow in place: what succeeded stays, what failed runs again (FormulateRetryWorkflow)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from meta.sandbox.argo.operator.context import ON_EXIT
from meta.sandbox.argo.operator.suspend import node_selector
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import LABEL_ARCHIVING, LABEL_COMPLETED, Workflow

_GROUPS = {NodeType.STEPS, NodeType.STEP_GROUP, NodeType.DAG, NodeType.TASK_GROUP, NodeType.RETRY}


class NotRetryableError(Exception):
    """The workflow's phase does not allow a retry."""


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """The body of a retry.

    Attributes:
        restart_successful: whether nodes that `selector` names run again though they succeeded.
        selector: over nodes; means nothing without `restart_successful`.
        parameters: `NAME=VALUE`, in the place of the workflow's arguments.
    """

    restart_successful: bool = False
    selector: str = ""
    parameters: tuple[str, ...] = ()


def rerun(workflow: Workflow, now: datetime, options: RetryOptions | None = None) -> list[NodeStatus]:
    """Open a failed workflow again: same name, same UID, the next pass starts what failed.

    Returns:
        The pods' nodes that were taken out.

    Raises:
        NotRetryableError: it has not failed.
        SuspendError: not a selector.
        ValueError: a parameter is not `NAME=VALUE`.
    """
    options = options or RetryOptions()
    status = workflow.status
    chosen = options.restart_successful and bool(options.selector)
    if status.phase is Phase.SUCCEEDED and not chosen:
        raise NotRetryableError(
            "To retry a succeeded workflow, set the options restartSuccessful and nodeFieldSelector"
        )
    if not status.phase.completed:
        raise NotRetryableError(f"Cannot retry a workflow in phase {status.phase}")
    nodes = status.nodes
    matches = node_selector(options.selector) if chosen else None
    wanted = {key for key, node in nodes.items() if matches is not None and matches(node)}
    arguments = _override(workflow, options.parameters)
    wanted |= {
        key
        for key, node in nodes.items()
        if node.type in {NodeType.POD, NodeType.HTTP} and node.phase.unsuccessful and not _led_on(nodes, node, wanted)
    }
    gone = {key for chosen_key in wanted for key in _below(nodes, chosen_key)}
    above = {holder.id: holder for key in wanted for holder in _above(nodes, nodes[key]) if holder.id not in gone}
    if options.parameters:  # what was expanded may expand otherwise now
        groups = [n for n in above.values() if n.type in {NodeType.TASK_GROUP, NodeType.STEP_GROUP}]
        gone |= {key for group in groups for child in group.children for key in _below(nodes, child)}
    gone |= {key for key, node in nodes.items() if node.name.startswith(workflow.name + ON_EXIT)}
    removed = [node for key, node in nodes.items() if key in gone and node.type is NodeType.POD]
    for holder in above.values():
        _reopen(holder, now)
    for key in gone:
        nodes.pop(key, None)
    for node in nodes.values():
        node.children = [child for child in node.children if child not in gone]
        node.outbound_nodes = [child for child in node.outbound_nodes if child not in gone]
    if arguments is not None:
        workflow.change_spec(arguments=arguments)
    for label in (LABEL_COMPLETED, LABEL_ARCHIVING):
        workflow.metadata.labels.pop(label, None)
    workflow.change_spec(shutdown=None)
    status.set_condition("Completed", "False")
    status.phase, status.message = Phase.UNKNOWN, None
    status.started_at, status.finished_at = now, None
    return removed


def _override(workflow: Workflow, parameters: tuple[str, ...]) -> JsonObject | None:
    """The workflow's arguments with new values (overrideParameters); None for no change."""
    if not parameters:
        return None
    given: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise ValueError(f"expected parameter of the form: NAME=VALUE. Received: {parameter}")
        given[name] = value
    arguments = workflow.raw_spec.get("arguments")
    before = arguments if isinstance(arguments, dict) else {}
    listed = before.get("parameters")
    kept = [p for p in (listed if isinstance(listed, list) else []) if isinstance(p, dict) and p["name"] not in given]
    fresh: list[JsonValue] = [{"name": name, "value": value} for name, value in given.items()]
    return {**before, "parameters": [*fresh, *kept]}


def _led_on(nodes: dict[str, NodeStatus], node: NodeStatus, wanted: set[str]) -> bool:
    """Whether something after a failed node succeeded, so that the failure was got over (isDescendantNodeSucceeded)."""
    if node.node_flag is not None and node.node_flag.retried:
        node = next((n for n in nodes.values() if n.type is NodeType.RETRY and node.id in n.children), node)
    below = _below(nodes, node.id) - {node.id} - wanted
    return any(nodes[key].phase is Phase.SUCCEEDED for key in below)


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
