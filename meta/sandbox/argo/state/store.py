"""Workflows and process records in SQLite, so that a killed server finds them again.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed. Everything is kept in memory too; the
file is read once, at the start.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from meta.sandbox.argo.state.hub import Event, WatchHub
from meta.sandbox.argo.state.workflow import Workflow

_SCHEMA = """
CREATE TABLE IF NOT EXISTS workflows (
  uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (namespace, name));
CREATE TABLE IF NOT EXISTS processes (
  uid TEXT NOT NULL, node_id TEXT NOT NULL, pgid INTEGER NOT NULL, started TEXT NOT NULL, PRIMARY KEY (uid, node_id));
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counters VALUES ('resource_version', 1);
"""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A pod's process group; the start time tells it from a later group of the same number."""

    uid: str
    node_id: str
    pgid: int
    started: str


class NameTakenError(Exception):
    """A workflow of that name exists in the namespace."""


class Store:
    """All workflows of the server; each write publishes an event."""

    def __init__(self, path: Path) -> None:
        """Open or create the database.

        Raises:
            sqlite3.DatabaseError: the file is not a database, or is damaged.
        """
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._version = self._read_version()
        self._workflows: dict[tuple[str, str], Workflow] = {}
        self._labels: dict[str, dict[str, str]] = {}  # as they were written last
        for (body,) in cast("list[tuple[str]]", self._db.execute("SELECT body FROM workflows").fetchall()):
            workflow = Workflow.from_json(body)
            self._workflows[workflow.key] = workflow
            self._labels[workflow.metadata.uid] = dict(workflow.metadata.labels)
        self.hub = WatchHub(self._version)

    def _read_version(self) -> int:
        row = cast("tuple[int]", self._db.execute("SELECT value FROM counters").fetchone())
        return row[0]

    @property
    def resource_version(self) -> int:
        return self._version

    def get(self, namespace: str, name: str) -> Workflow | None:
        return self._workflows.get((namespace, name))

    def all(self, namespace: str | None = None) -> list[Workflow]:
        return [w for w in self._workflows.values() if namespace in (None, w.metadata.namespace)]

    def add(self, workflow: Workflow) -> None:
        """Keep a new workflow.

        Raises:
            NameTakenError: its name is taken in its namespace.
        """
        if workflow.key in self._workflows:
            raise NameTakenError(workflow.name)
        self._workflows[workflow.key] = workflow
        self._write(workflow, "ADDED")

    def save(self, workflow: Workflow) -> None:
        """Write a change; does nothing for a workflow that was deleted meanwhile."""
        if self._workflows.get(workflow.key) is workflow:
            self._write(workflow, "MODIFIED")

    def remove(self, workflow: Workflow) -> None:
        if self._workflows.get(workflow.key) is workflow:
            del self._workflows[workflow.key]
            self._write(workflow, "DELETED")

    def _write(self, workflow: Workflow, kind: Literal["ADDED", "MODIFIED", "DELETED"]) -> None:
        meta = workflow.metadata
        version = self._version + 1
        meta.resource_version = version
        meta.generation += 1
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("UPDATE counters SET value = ? WHERE name = 'resource_version'", (version,))
            if kind == "DELETED":
                self._db.execute("DELETE FROM workflows WHERE uid = ?", (meta.uid,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO workflows VALUES (?, ?, ?, ?)",
                    (meta.uid, meta.namespace, meta.name, workflow.to_json()),
                )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._version = version
        previous = self._labels.pop(meta.uid, None)
        labels = dict(meta.labels)
        if kind != "DELETED":
            self._labels[meta.uid] = labels
        self.hub.publish(Event(kind, version, meta.namespace, meta.name, labels, previous, workflow.render()))

    def record_process(self, record: ProcessRecord) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?)",
            (record.uid, record.node_id, record.pgid, record.started),
        )

    def forget_process(self, uid: str, node_id: str) -> None:
        self._db.execute("DELETE FROM processes WHERE uid = ? AND node_id = ?", (uid, node_id))

    def processes(self) -> list[ProcessRecord]:
        rows = self._db.execute("SELECT uid, node_id, pgid, started FROM processes").fetchall()
        return [ProcessRecord(*row) for row in cast("list[tuple[str, str, int, str]]", rows)]

    def close(self) -> None:
        self.hub.close()
        self._db.close()
