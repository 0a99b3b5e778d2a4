"""The archive: every workflow that has ended, also after it was deleted (persist/sqldb/workflow_archive.go).

Nothing of it is in memory. As in the real one, a list has less of a workflow than the workflow itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from meta.sandbox.argo.state.status import JsonObject, k8s_time, now
from meta.sandbox.argo.state.workflow import LABEL_ARCHIVING, Workflow

_SCHEMA = """
CREATE TABLE IF NOT EXISTS archive (
  uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, created TEXT NOT NULL, started TEXT NOT NULL,
  finished TEXT NOT NULL, summary TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS archive_started ON archive (namespace, started);
CREATE INDEX IF NOT EXISTS archive_finished ON archive (finished);
CREATE INDEX IF NOT EXISTS archive_name ON archive (namespace, name);
"""
KEPT = timedelta(days=30)  # the real one has no limit unless it is configured; a laptop's disk has
NEVER = datetime(9999, 12, 31, tzinfo=UTC)  # the end of what has not ended
_OF_STATUS = ("phase", "startedAt", "finishedAt", "progress", "message", "estimatedDuration", "resourcesDuration")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list knows of a workflow, and what it shows."""

    uid: str
    name: str
    labels: dict[str, str]
    created: datetime
    started: datetime
    finished: datetime
    show: Callable[[], JsonObject]


def live_summary(workflow: Workflow) -> Summary:
    """The same of a workflow that is not only in the archive; it is shown whole."""
    meta, status = workflow.metadata, workflow.status
    started, finished = status.started_at or meta.created, status.finished_at or NEVER
    return Summary(meta.uid, meta.name, meta.labels, meta.created, started, finished, workflow.render)


class Archive:
    """The table of ended workflows."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Make the table if it is not there."""
        self._db = db
        db.executescript(_SCHEMA)

    def put(self, workflow: Workflow) -> None:
        """Keep an ended workflow as it is now; an earlier end of the same one is replaced."""
        meta, status = workflow.metadata, workflow.status
        started = status.started_at or meta.created
        shown = workflow.render()
        spec, outcome = cast("JsonObject", shown["spec"]), cast("JsonObject", shown["status"])
        labels = {**meta.labels, LABEL_ARCHIVING: "Persisted"}
        summary = {
            "metadata": {
                "name": meta.name, "namespace": meta.namespace, "uid": meta.uid,
                "creationTimestamp": k8s_time(meta.created), "labels": labels, "annotations": meta.annotations,
            },
            "spec": {key: spec[key] for key in ("arguments", "suspend") if key in spec},
            "status": {key: outcome[key] for key in _OF_STATUS if key in outcome},
        }  # fmt: skip
        self._db.execute("DELETE FROM archive WHERE finished < ?", (k8s_time(now() - KEPT),))
        times = [k8s_time(moment) for moment in (meta.created, started, status.finished_at or started)]
        self._db.execute(
            "INSERT OR REPLACE INTO archive VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (meta.uid, meta.namespace, meta.name, *times, json.dumps(summary), workflow.to_json()),
        )

    def get(self, uid: str) -> Workflow | None:
        return self._one("SELECT body FROM archive WHERE uid = ?", uid)

    def latest(self, namespace: str, name: str) -> Workflow | None:
        """The workflow of that name that began last."""
        query = "SELECT body FROM archive WHERE namespace = ? AND name = ? ORDER BY started DESC, rowid DESC LIMIT 1"
        return self._one(query, namespace, name)

    def _one(self, query: str, *values: str) -> Workflow | None:
        row = cast("tuple[str] | None", self._db.execute(query, values).fetchone())
        if row is None:
            return None
        workflow = Workflow.from_json(row[0])
        workflow.metadata.labels[LABEL_ARCHIVING] = "Persisted"
        return workflow

    def remove(self, uid: str) -> bool:
        """Forget a workflow; whether it was there."""
        return self._db.execute("DELETE FROM archive WHERE uid = ?", (uid,)).rowcount > 0

    def all(self, namespace: str) -> Iterator[Summary]:
        """Every workflow, the one that began last first."""
        rows = self._db.execute(
            "SELECT uid, name, created, started, finished, summary FROM archive WHERE namespace = ? "
            "ORDER BY started DESC, rowid DESC",
            (namespace,),
        )
        for uid, name, *times, text in cast("Iterator[tuple[str, ...]]", rows):
            body = cast("JsonObject", json.loads(text))
            labels = cast("dict[str, str]", cast("JsonObject", body["metadata"])["labels"])
            created, started, finished = (datetime.fromisoformat(moment) for moment in times)
            yield Summary(uid, name, labels, created, started, finished, partial(_as_it_is, body))

    def label_keys(self) -> list[str]:
        return self._texts("SELECT DISTINCT label.key FROM archive, json_each(summary, '$.metadata.labels') AS label")

    def label_values(self, key: str) -> list[str]:
        query = "SELECT DISTINCT label.value FROM archive, json_each(summary, '$.metadata.labels') AS label"
        return self._texts(f"{query} WHERE label.key = ?", key)

    def _texts(self, query: str, *values: str) -> list[str]:
        return [row[0] for row in cast("list[tuple[str]]", self._db.execute(f"{query} ORDER BY 1", values).fetchall())]


def _as_it_is(body: JsonObject) -> JsonObject:
    return body
