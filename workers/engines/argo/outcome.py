"""From a finished Workflow to an `Outcome`: pure functions on the JSON of `GET /api/v1/workflows/{ns}/{name}`.

Status fields: `pkg/apis/workflow/v1alpha1/workflow_types.go` (WorkflowStatus, NodeStatus).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from workers.engines.argo.locations import ARCHIVE, locate, packing
from workers.engines.json_view import child, children, moment, text, texts
from workflows.outcome import FailureClass, Node, Outcome
from workflows.values import JsonObject, JsonValue


class Phase(StrEnum):
    """Phases of a Workflow. There is none for a cancelled one: it ends Failed, with `spec.shutdown` set."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"


ENDED = frozenset(Phase)
RETRYABLE = frozenset({Phase.FAILED, Phase.ERROR})
_LEAVES = ("Pod", "Container", "HTTP", "Plugin")


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
    return Outcome(
        failure=failure,
        message=_message(workflow) if failure else text(status, "message"),
        outputs=read_outputs(workflow),
        nodes=read_nodes(workflow),
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


def _message(workflow: JsonObject) -> str:
    """The workflow's own message and those of the pods that failed, as `name: message`."""
    lines = [text(workflow, "status", "message") or f"the workflow ended {phase(workflow)}"]
    for node in _node_statuses(workflow).values():
        if text(node, "type") in _LEAVES and text(node, "phase") in ("Failed", "Error"):
            name = text(node, "displayName") or text(node, "name")
            lines.append(f"{name}: {text(node, 'message') or text(node, 'phase')}")
    return "\n".join(dict.fromkeys(lines))
