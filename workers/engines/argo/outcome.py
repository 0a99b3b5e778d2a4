"""From a finished Workflow to an `Outcome`: pure functions on the JSON of `GET /api/v1/workflows/{ns}/{name}`.

Status fields: `pkg/apis/workflow/v1alpha1/workflow_types.go` (WorkflowStatus, NodeStatus).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from workers.engines.argo.locations import ARCHIVE, locate, packing
from workers.engines.argo.pods import pod_name
from workers.engines.argo.trace_context import own_trace
from workers.engines.ending import Told
from workers.engines.json_view import child, children, moment, text, texts
from workflows.outcome import MAX_FAILED_NODES, FailureClass, Node, Outcome, failed_node
from workflows.values import JsonObject, JsonValue


class Phase(StrEnum):
    """Phases of a Workflow. There is none for a cancelled one: it ends Failed, with `spec.shutdown` set."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"


ENDED = frozenset(Phase)
RETRYABLE = frozenset({Phase.FAILED, Phase.ERROR})
_LEAVES = ("Pod", "Container", "HTTP", "Plugin")
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OutputArtifact:
    """An artifact as the Workflow names it, before its object is looked at."""

    name: str
    uri: str
    metadata: JsonObject = field(default_factory=dict[str, JsonValue])


def phase(workflow: JsonObject) -> str:
    """The Workflow's phase: empty or Pending before it runs."""
    return text(workflow, "status", "phase")


def has_ended(workflow: JsonObject) -> bool:
    """Whether it ended. Not for ever: a manual retry reopens it."""
    return phase(workflow) in ENDED


def was_shut_down(workflow: JsonObject) -> bool:
    """Whether somebody stopped or terminated it."""
    return bool(text(workflow, "spec", "shutdown"))


def told(workflow: JsonObject) -> Told:
    """What it has been told: `spec.shutdown` stays Stop or Terminate while it ends."""
    return {"Stop": Told.STOP, "Terminate": Told.TERMINATE}.get(text(workflow, "spec", "shutdown"), Told.NOTHING)


def read_outcome(workflow: JsonObject, *, cancelled: bool) -> Outcome:
    """Make the outcome, without artifacts: their objects are read by the caller.

    Args:
        workflow: the whole object, ended.
        cancelled: what did not succeed is CANCELLED, not FAILED: the caller knows that it was shut down.
    """
    status = child(workflow, "status")
    failure = None
    if phase(workflow) != Phase.SUCCEEDED:
        failure = FailureClass.CANCELLED if cancelled else FailureClass.FAILED
    nodes = read_nodes(workflow)
    failed = failed_leaves(nodes) if failure else []
    return Outcome(
        failure=failure,
        phase=phase(workflow),
        message=_message(workflow, failed) if failure else text(status, "message"),
        failed_nodes=[failed_node(node) for node in failed[:MAX_FAILED_NODES]],
        outputs=read_outputs(workflow),
        nodes=nodes,
        own_trace=own_trace(workflow),
        started_at=moment(status.get("startedAt")),
        finished_at=moment(status.get("finishedAt")),
    )


def read_outputs(workflow: JsonObject) -> JsonObject:
    """Output parameters: the workflow's global ones first, then those of the entrypoint that are not among them.

    `result` is the standard output of a script that is the entrypoint.
    """
    outputs: JsonObject = {}
    for source in _sources(workflow):
        for parameter in children(source, "parameters"):
            if "value" in parameter:
                outputs.setdefault(text(parameter, "name"), parameter["value"])
        if "result" in source:
            outputs.setdefault("result", source["result"])
    return outputs


def read_artifacts(workflow: JsonObject) -> list[OutputArtifact]:
    """Output artifacts in the same order, each name once, with the bucket of the artifact repository where needed.

    Log files that the controller archives beside them are left out, and so is what is in no object store.
    """
    found: dict[str, OutputArtifact] = {}
    for source in _sources(workflow):
        for artifact in children(source, "artifacts"):
            name = text(artifact, "name")
            uri = locate(artifact, workflow)
            if uri and not (name.endswith("-logs") and uri.endswith(".log")):
                packed = packing(artifact)
                found.setdefault(name, OutputArtifact(name, uri, {ARCHIVE: packed} if packed else {}))
    return list(found.values())


def read_nodes(workflow: JsonObject) -> list[Node]:
    """All nodes, each below the one that holds it: the tries of a Retry node below that, else the boundary."""
    statuses = _node_statuses(workflow)
    tries = {
        name: node_id
        for node_id, node in statuses.items()
        if text(node, "type") == "Retry"
        for name in texts(node, "children")
    }
    return [
        Node(
            id=node_id,
            name=text(node, "displayName") or text(node, "name"),
            type=text(node, "type"),
            phase=text(node, "phase"),
            message=text(node, "message"),
            parent=tries.get(node_id) or text(node, "boundaryID"),
            exit_code=_exit_code(node),
            cached=child(node, "memoizationStatus").get("hit") is True,
            pod=pod_name(workflow, node_id) if text(node, "type") == "Pod" else "",
            started_at=moment(node.get("startedAt")),
            finished_at=moment(node.get("finishedAt")),
        )
        for node_id, node in statuses.items()
    ]


def _node_statuses(workflow: JsonObject) -> dict[str, JsonObject]:
    nodes = child(workflow, "status", "nodes")
    return {node_id: node for node_id, node in nodes.items() if isinstance(node, dict)}


def _sources(workflow: JsonObject) -> list[JsonObject]:
    """Where outputs stand: the workflow's, then the root node's, then the last try's when the root is a Retry."""
    statuses = _node_statuses(workflow)
    root = statuses.get(text(workflow, "metadata", "name"), {})
    sources = [child(workflow, "status", "outputs"), child(root, "outputs")]
    if text(root, "type") == "Retry" and (tries := texts(root, "children")):
        sources.append(child(statuses.get(tries[-1], {}), "outputs"))
    return sources


def _exit_code(node: JsonObject) -> int | None:
    code: JsonValue = child(node, "outputs").get("exitCode")
    return int(code) if isinstance(code, str) and code.lstrip("-").isdigit() else None


def failed_leaves(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that a workflow failed by, in the order in which they ended, so that the cause comes first.

    Of a Retry node's tries the last one counts, and none when one of them succeeded in the end. Where no pod failed,
    as with a template that cannot be resolved, what holds them says why.
    """
    retries = {node.id: node for node in nodes if node.type == "Retry"}
    last_try: dict[str, Node] = {}
    for node in sorted(nodes, key=lambda node: (node.started_at or _NEVER, len(node.name), node.name)):
        last_try[node.parent] = node

    def counts(node: Node) -> bool:
        retry = retries.get(node.parent)
        return retry is None or (retry.phase in RETRYABLE and last_try[node.parent] is node)

    failed = [node for node in nodes if node.phase in RETRYABLE]
    leaves = [node for node in failed if node.type in _LEAVES]
    chosen = [node for node in leaves if counts(node)] or leaves or [node for node in failed if node.message]
    return sorted(chosen, key=lambda node: (node.finished_at is None, node.finished_at or _NEVER))


def _message(workflow: JsonObject, failed: Sequence[Node]) -> str:
    """The workflow's own message and those of the nodes that failed, as `name: message`."""
    own = text(workflow, "status", "message") or f"the workflow ended {phase(workflow)}"
    told = [node for node in failed[:MAX_FAILED_NODES] if not (node.message and node.message in own)]
    lines = [own, *(f"{node.name}: {node.message or node.phase}" for node in told)]
    if len(failed) > MAX_FAILED_NODES:
        lines.append(f"and {len(failed) - MAX_FAILED_NODES} more nodes failed")
    return "\n".join(dict.fromkeys(lines))
