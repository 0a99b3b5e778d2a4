"""Runs and their tasks, as stored."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import internal, not_found

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELING = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING"
CANCELED, SKIPPED, UNSPECIFIED = "CANCELED", "SKIPPED", "RUNTIME_STATE_UNSPECIFIED"
STARTING = "starting"  # in place of a start time: the process may have begun, or not
TERMINAL = (SUCCEEDED, SKIPPED, FAILED, CANCELED)
AVAILABLE, ARCHIVED = "AVAILABLE", "ARCHIVED"


@dataclass(slots=True)
class RunRecord:
    """A row of `runs`. Times are whole seconds since the epoch, as in the real server's database; 0 is not yet.

    Attributes:
        number: rising; the order of creation, in which the queue is served.
        document: the `pipeline_spec` it was created with, also when it came from a version.
        error: why it failed; empty otherwise.
        attempt: from 1; a retry in place raises it.
        pgid: process group of the running attempt; 0 when there is none.
        pgid_started: start time of the group's leader, which tells it from a later process of the same number.
        workflow: name of the Argo Workflow that a real server would have made.
    """

    display_name: str
    experiment_id: str
    document: dict[str, Any]
    parameters: dict[str, Any]
    workflow: str
    id: str = ""
    number: int = 0
    description: str = ""
    storage_state: str = AVAILABLE
    service_account: str = ""
    pipeline_id: str = ""
    version_id: str = ""
    pipeline_root: str = ""
    state: str = PENDING
    state_history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    error: str = ""
    created_at: int = 0
    scheduled_at: int = 0
    finished_at: int = 0
    attempt: int = 1
    pgid: int = 0
    pgid_started: str = ""

    def move(self, state: str, error: str = "") -> None:
        """Enter a state, with its line in the history."""
        self.state, self.error = state, error
        now = int(time.time())
        self.finished_at = now if state in TERMINAL else 0
        entry: dict[str, Any] = {"update_time": now, "state": state}
        if error:
            entry["error"] = error
        self.state_history.append(entry)


@dataclass(slots=True)
class TaskRecord:
    """A row of `tasks`: a DAG, a container or an importer.

    Attributes:
        path: where it stands: `root`, `root/train`, `root/for-loop-1/0/train`.
        kind: dag, container or importer.
        state: a runtime state, or CACHED, or OMITTED (never reached because something before it failed).
        execution_id: of its ML Metadata execution; 0 when it has none.
        kept: its outputs, for a retry of the run; empty until it has succeeded.
        attempts: a JSON list of `TaskAttempt` events, of a task with a retry policy; empty for others.
    """

    run_id: str
    path: str
    parent: str
    name: str
    kind: str
    state: str
    id: str = ""
    number: int = 0
    started_at: int = 0
    finished_at: int = 0
    error: str = ""
    execution_id: int = 0
    kept: str = ""
    attempts: str = ""


def node_id(run: RunRecord, path: str) -> str:
    """An Argo node's id, which is also its pod's name: the workflow's name and a number made of the node's place."""
    return f"{run.workflow}-{uuid.uuid5(uuid.UUID(run.id), path).int % 2**32}"


def pod_name(run: RunRecord, path: str) -> str:
    """The pod of a container task: its executor node."""
    return node_id(run, f"{path}/executor")


_JSON = ("document", "parameters", "state_history")
_RUN_FIELDS = tuple(item.name for item in dataclasses.fields(RunRecord))
_TASK_FIELDS = tuple(item.name for item in dataclasses.fields(TaskRecord))


class RunStore:
    """Reads and writes runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.saving: Callable[[RunRecord], None] | None = None  # told of each run before it is written again

    def about(self, run_id: str) -> tuple[str, str]:
        """Display name and description of a run; empty ones when there is none of that id."""
        row = self._database.row("SELECT display_name, description FROM runs WHERE id = ?", run_id)
        return ("", "") if row is None else (row["display_name"], row["description"])

    def create(self, run: RunRecord, note: str = "") -> RunRecord:
        """Store a new run; gives it its id, number, times and first state.

        Raises:
            ApiError: the id is taken (the real server fails on insert).
        """
        run.id = run.id or str(uuid.uuid4())
        row = self._database.row("SELECT coalesce(max(number), 0) + 1 AS next FROM runs")
        run.number = int(row["next"]) if row else 1
        run.created_at = run.scheduled_at = int(time.time())
        run.move(PENDING)
        if note:
            run.state_history[-1]["note"] = note
        columns, marks = ", ".join(_RUN_FIELDS), ", ".join("?" for _ in _RUN_FIELDS)
        try:
            self._database.execute(f"INSERT INTO runs ({columns}) VALUES ({marks})", *_values(run))
        except sqlite3.IntegrityError as error:
            raise internal("Failed to create a run", f"failed to store run {run.id} to table: {error}") from error
        return run

    def get(self, run_id: str) -> RunRecord:
        """Read a run.

        Raises:
            ApiError: there is none of that id.
        """
        row = self._database.row("SELECT * FROM runs WHERE id = ?", run_id)
        if row is None:
            raise not_found("Run", run_id)
        return run_of(row)

    def find(self, run_id: str) -> RunRecord | None:
        """Read a run; None if there is none of that id."""
        row = self._database.row("SELECT * FROM runs WHERE id = ?", run_id)
        return None if row is None else run_of(row)

    def waiting(self, limit: int, besides: Collection[str]) -> list[str]:
        """The ids of runs that wait to be started, in the order of their creation.

        Args:
            limit: how many at most.
            besides: ids of runs that are being started already.
        """
        rows = self._database.rows(
            "SELECT id FROM runs WHERE state = ? ORDER BY number LIMIT ?", PENDING, limit + len(besides)
        )
        return [str(row["id"]) for row in rows if row["id"] not in besides][:limit]

    def begun(self) -> list[RunRecord]:
        """Runs that are PENDING though their process may have begun."""
        rows = self._database.rows("SELECT * FROM runs WHERE state = ? AND pgid_started = ?", PENDING, STARTING)
        return [run_of(row) for row in rows]

    def ended_before(self, moment: int) -> list[str]:
        """The ids of runs that have ended before a time (seconds since the epoch)."""
        rows = self._database.rows("SELECT id FROM runs WHERE finished_at > 0 AND finished_at <= ?", moment)
        return [str(row["id"]) for row in rows]

    def save(self, run: RunRecord) -> None:
        if self.saving is not None:
            self.saving(run)
        changes = ", ".join(f"{name} = ?" for name in _RUN_FIELDS)
        self._database.execute(f"UPDATE runs SET {changes} WHERE id = ?", *_values(run), run.id)

    def delete(self, run_id: str) -> None:
        self._database.execute("DELETE FROM runs WHERE id = ?", run_id)

    def in_states(self, *states: str) -> list[RunRecord]:
        """Runs in any of the states, oldest first."""
        marks = ", ".join("?" for _ in states)
        rows = self._database.rows(f"SELECT * FROM runs WHERE state IN ({marks}) ORDER BY number", *states)
        return [run_of(row) for row in rows]

    def tasks(self, run_id: str) -> list[TaskRecord]:
        rows = self._database.rows("SELECT * FROM tasks WHERE run_id = ? ORDER BY number", run_id)
        return [_task(row) for row in rows]

    def task(self, run_id: str, path: str) -> TaskRecord | None:
        row = self._database.row("SELECT * FROM tasks WHERE run_id = ? AND path = ?", run_id, path)
        return None if row is None else _task(row)

    def save_task(self, task: TaskRecord) -> None:
        """Store a task, new or known."""
        if not task.id:
            task.id = str(uuid.uuid4())
        if not task.number:
            row = self._database.row("SELECT count(*) + 1 AS next FROM tasks WHERE run_id = ?", task.run_id)
            task.number = int(row["next"]) if row else 1
        columns, marks = ", ".join(_TASK_FIELDS), ", ".join("?" for _ in _TASK_FIELDS)
        self._database.execute(
            f"INSERT OR REPLACE INTO tasks ({columns}) VALUES ({marks})",
            *(getattr(task, name) for name in _TASK_FIELDS),
        )


def _values(run: RunRecord) -> list[object]:
    return [json.dumps(value) if name in _JSON else value for name, value in _pairs(run)]


def _pairs(run: RunRecord) -> list[tuple[str, object]]:
    return [(name, cast("object", getattr(run, name))) for name in _RUN_FIELDS]


def run_of(row: sqlite3.Row) -> RunRecord:
    """A run from its whole row."""
    return RunRecord(**{name: json.loads(row[name]) if name in _JSON else row[name] for name in _RUN_FIELDS})


def _task(row: sqlite3.Row) -> TaskRecord:
    return TaskRecord(**{name: row[name] for name in _TASK_FIELDS})
