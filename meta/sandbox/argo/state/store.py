"""Workflows and process records in SQLite, so that a killed server finds them again.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed. Everything is kept in memory too; the
file is read once, at the start.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from meta.sandbox.argo.state.actions import Actions
from meta.sandbox.argo.state.archive import Archive
from meta.sandbox.argo.state.core import CoreObjects
from meta.sandbox.argo.state.hub import Event, WatchHub
from meta.sandbox.argo.state.objects import ObjectTable
from meta.sandbox.argo.state.workflow import ARCHIVED, LABEL_ARCHIVING, Workflow

_SCHEMA = """
CREATE TABLE IF NOT EXISTS workflows (
  uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (namespace, name));
CREATE TABLE IF NOT EXISTS processes (
  uid TEXT NOT NULL, node_id TEXT NOT NULL, pgid INTEGER NOT NULL, started TEXT NOT NULL, PRIMARY KEY (uid, node_id));
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counters VALUES ('resource_version', 1);
"""


_Kind = Literal["ADDED", "MODIFIED", "DELETED"]


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

    def __init__(self, path: Path, *, archive: bool = True) -> None:
        """Open or create the database; `archive`: whether ended workflows are kept for good.

        Raises:
            sqlite3.DatabaseError: the file is not a database, or is damaged.
        """
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._version = self._read_version()
        self._workflows: dict[tuple[str, str], Workflow] = {}
        self._labels: dict[str, dict[str, str]] = {}  # as they were written last, like the next two
        self._written: dict[str, int] = {}  # hashes of the texts
        self._latest: dict[str, Event] = {}
        for (body,) in cast("list[tuple[str]]", self._db.execute("SELECT body FROM workflows").fetchall()):
            workflow = Workflow.from_json(body)
            self._workflows[workflow.key] = workflow
            self._labels[workflow.metadata.uid] = dict(workflow.metadata.labels)
            self._written[workflow.metadata.uid] = hash(body)
        self.hub = WatchHub(self._version)
        self.db = self._db  # for the tables of others
        self.objects = ObjectTable(self._db, self._next_version)
        self.core = CoreObjects(self._db, self._next_version)
        self.actions = Actions(self._db)
        self.archive = Archive(self._db) if archive else None

    def _read_version(self) -> int:
        row = cast("tuple[int]", self._db.execute("SELECT value FROM counters").fetchone())
        return row[0]

    def _next_version(self) -> int:
        self._db.execute("UPDATE counters SET value = value + 1 WHERE name = 'resource_version'")
        self._version += 1
        return self._version

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

    def save(self, workflow: Workflow) -> bool:
        """Write a workflow if it has changed since it was written last.

        Nothing happens for a workflow that was deleted meanwhile. As in etcd, a write that changes nothing is none: it
        makes no event.

        Returns:
            Whether it was written.
        """
        if self._workflows.get(workflow.key) is not workflow:
            return False
        if self._written[workflow.metadata.uid] == hash(workflow.to_json()):
            return False
        self._write(workflow, "MODIFIED")
        return True

    def save_ended(self, workflow: Workflow) -> None:
        """Write an ended workflow, and what is new of it into the archive; each makes an event, as on a cluster."""
        labels = workflow.metadata.labels
        if self.archive is not None and LABEL_ARCHIVING not in labels:
            labels[LABEL_ARCHIVING] = "Pending"
        self.save(workflow)
        if self.archive is not None and labels.get(LABEL_ARCHIVING) != ARCHIVED:
            self.archive.put(workflow)
            labels[LABEL_ARCHIVING] = ARCHIVED
            self.save(workflow)

    def remove(self, workflow: Workflow) -> None:
        if self._workflows.get(workflow.key) is workflow:
            del self._workflows[workflow.key]
            self._write(workflow, "DELETED")

    def as_added(self, workflow: Workflow) -> Event:
        """The workflow as it is now, for a watch that begins with what there is."""
        meta = workflow.metadata
        event = self._latest.get(meta.uid)
        if event is None or event.resource_version != meta.resource_version:
            event = self._latest[meta.uid] = _event(workflow, "ADDED", None)
        return Event("ADDED", event.resource_version, event.namespace, event.name, event.labels, None, event.body,
                     event.encoded)  # fmt: skip

    def _write(self, workflow: Workflow, kind: _Kind) -> None:
        meta = workflow.metadata
        version = self._version + 1
        meta.resource_version = version
        meta.generation += 1
        text = "" if kind == "DELETED" else workflow.to_json()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("UPDATE counters SET value = ? WHERE name = 'resource_version'", (version,))
            if kind == "DELETED":
                self._db.execute("DELETE FROM workflows WHERE uid = ?", (meta.uid,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO workflows VALUES (?, ?, ?, ?)", (meta.uid, meta.namespace, meta.name, text)
                )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._version = version
        event = _event(workflow, kind, self._labels.pop(meta.uid, None))
        if kind == "DELETED":
            self._latest.pop(meta.uid, None)
            self._written.pop(meta.uid, None)
        else:
            self._labels[meta.uid], self._latest[meta.uid], self._written[meta.uid] = event.labels, event, hash(text)
        self.hub.publish(event)

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


def _event(workflow: Workflow, kind: _Kind, previous: dict[str, str] | None) -> Event:
    meta = workflow.metadata
    body = json.dumps(workflow.render(), separators=(",", ":")).encode()
    return Event(kind, meta.resource_version, meta.namespace, meta.name, dict(meta.labels), previous, body)
