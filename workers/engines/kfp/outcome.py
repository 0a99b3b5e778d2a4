"""From a finished KFP run to an `Outcome`: pure functions on the JSON of `GET /apis/v2beta1/runs/{run_id}`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from workers.engines.ending import Told
from workers.engines.json_view import child, children, moment, text
from workers.engines.kfp.tasks import TaskRecord
from workflows.outcome import MAX_FAILED_NODES, FailureClass, Node, Outcome, failed_node
from workflows.values import JsonObject


class State(StrEnum):
    """States in which a run has ended. After a terminate the real server says FAILED as often as CANCELED."""

    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


ENDED = frozenset(State)
RETRYABLE = frozenset({State.FAILED, State.CANCELED})
_NEVER = datetime.max.replace(tzinfo=UTC)
_GOOD = frozenset({State.SUCCEEDED, State.SKIPPED})


def state(run: JsonObject) -> str:
    return text(run, "state")


def has_ended(run: JsonObject) -> bool:
    """Whether it ended. Not for ever: a retry reopens it."""
    return state(run) in ENDED


def was_cancelled(run: JsonObject) -> bool:
    """Whether the run itself tells that somebody ended it: CANCELED, or CANCELING just before the end."""
    if state(run) == State.CANCELED:
        return True
    history = [text(entry, "state") for entry in children(run, "state_history")]
    return state(run) == State.FAILED and history[-2:-1] == ["CANCELING"]


def told(run: JsonObject) -> Told:
    """What it has been told: CANCELING while it ends."""
    return Told.TERMINATE if state(run) == "CANCELING" else Told.NOTHING


def read_outcome(run: JsonObject, tasks: Sequence[TaskRecord], outputs: JsonObject, *, cancelled: bool) -> Outcome:
    """Make the outcome, without artifacts: their objects are read by the caller.

    Args:
        run: as the API shows it, ended.
        tasks: what ML Metadata or the 3.x API tell of its tasks; may be empty.
        outputs: the pipeline's declared output parameters.
        cancelled: what did not succeed is CANCELLED, not FAILED: the caller knows that it was ended.
    """
    failure = None
    if state(run) not in _GOOD:
        failure = FailureClass.CANCELLED if cancelled else FailureClass.FAILED
    nodes = read_nodes(run, tasks)
    failed = failed_leaves(nodes) if failure else []
    return Outcome(
        failure=failure,
        phase=state(run),
        failed_nodes=[failed_node(node) for node in failed[:MAX_FAILED_NODES]],
        message=_message(run, nodes) if failure else "",
        outputs=outputs,
        nodes=nodes,
        started_at=moment(run.get("created_at")),
        finished_at=moment(run.get("finished_at")),
    )


def read_nodes(run: JsonObject, tasks: Sequence[TaskRecord]) -> list[Node]:
    """Tasks as nodes: the recorded ones, with errors from the run's task details; or those details alone."""
    details = children(run, "run_details", "task_details")
    if not tasks:
        return [_detail_node(detail) for detail in details]
    errors = {text(detail, "display_name"): text(detail, "error", "message") for detail in details}
    return [
        Node(
            id=task.id,
            name=task.name or "root",
            type=task.type,
            phase=task.state,
            message=task.message or errors.get(task.name, ""),
            parent=task.parent,
            cached=task.cached,
            pod=task.pod,
            started_at=task.started_at,
            finished_at=task.finished_at,
        )
        for task in tasks
    ]


def failed_leaves(nodes: Sequence[Node]) -> list[Node]:
    """The tasks that a run failed by, in the order in which they ended; what holds a failed task is left out."""
    failed = [node for node in nodes if node.phase == State.FAILED]
    holders = {node.parent for node in failed}
    return sorted(
        (node for node in failed if node.id not in holders),
        key=lambda node: (node.finished_at is None, node.finished_at or _NEVER),
    )


def error_lines(run: JsonObject) -> list[tuple[str, str]]:
    """What the run says went wrong: its own error under an empty name, then those of its tasks by name."""
    lines = [("", text(run, "error", "message"))]
    for detail in children(run, "run_details", "task_details") + children(run, "tasks"):
        message = text(detail, "error", "message") or text(detail, "status_metadata", "message")
        lines.append((text(detail, "display_name") or text(detail, "name"), message))
    return [(name, message) for name, message in lines if message]


def _detail_node(detail: JsonObject) -> Node:
    return Node(
        id=text(detail, "task_id"),
        name=text(detail, "display_name"),
        type="task",
        phase=text(detail, "state"),
        message=text(detail, "error", "message"),
        parent=text(detail, "parent_task_id"),
        started_at=moment(detail.get("start_time")) or moment(detail.get("create_time")),
        finished_at=moment(detail.get("end_time")),
    )


def _message(run: JsonObject, nodes: Sequence[Node]) -> str:
    """The run's own error and those of its tasks, as `name: message`; at least the names of the tasks that failed.

    A task's error shows again in what holds it, so the same words are kept once.
    """
    told = error_lines(run)
    named = {name for name, _ in told}
    for node in nodes:
        if node.phase == State.FAILED and node.parent and node.name not in named:
            told.append((node.name, node.message or "failed"))
    lines: list[str] = []
    for name, message in told:
        if not any(message in line for line in lines):
            lines.append(f"{name}: {message}" if name else message)
    return "\n".join(lines) or f"the run ended {state(run)}"


def pipeline_reference(run: JsonObject) -> tuple[str, str]:
    """Ids of the pipeline and the version that a run was made from; empty for a run with a spec of its own."""
    reference = child(run, "pipeline_version_reference") or child(run, "pipeline_reference")
    return text(reference, "pipeline_id"), text(reference, "pipeline_version_id")
