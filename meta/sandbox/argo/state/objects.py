"""WorkflowTemplates, ClusterWorkflowTemplates and CronWorkflows: kept in one table, and in memory.

Their events are not watched by anybody here; they share the counter of resource versions with the workflows, as all
objects of one cluster do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import cast

from hera.workflows import models as m
from pydantic import BaseModel, Field, JsonValue

from meta.sandbox.argo.state.metadata import Metadata
from meta.sandbox.argo.state.status import JsonObject

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (kind, namespace, name));
"""


class Kind(Enum):
    """The kinds, each with its plural in the API group and the longest name it may have."""

    WORKFLOW_TEMPLATE = ("WorkflowTemplate", "workflowtemplates", 63)
    CLUSTER_WORKFLOW_TEMPLATE = ("ClusterWorkflowTemplate", "clusterworkflowtemplates", 63)
    CRON_WORKFLOW = ("CronWorkflow", "cronworkflows", 52)  # a run's name gets a time stamp after it

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def plural(self) -> str:
        return self.value[1]

    @property
    def longest(self) -> int:
        return self.value[2]

    @property
    def namespaced(self) -> bool:
        return self is not Kind.CLUSTER_WORKFLOW_TEMPLATE

    @property
    def resource(self) -> str:
        return f"{self.plural}.argoproj.io"


class _Stored(BaseModel):
    metadata: Metadata
    raw_spec: JsonObject
    status: JsonObject = Field(default_factory=dict)


@dataclass
class TemplateObject:
    """An object that workflows are made from.

    Attributes:
        raw_spec: `spec` as it came; a CronWorkflow's is its own, with the workflow's in `workflowSpec`.
        status: a CronWorkflow's; empty for the others.
    """

    kind: Kind
    metadata: Metadata
    raw_spec: JsonObject
    status: JsonObject = field(default_factory=dict[str, JsonValue])

    @property
    def workflow_spec(self) -> JsonObject:
        if self.kind is Kind.CRON_WORKFLOW:
            return cast("JsonObject", self.raw_spec["workflowSpec"])
        return self.raw_spec

    @cached_property
    def spec(self) -> m.WorkflowSpec:
        """The workflow's spec, parsed."""
        from meta.sandbox.argo.manifest.read import parse_spec

        return parse_spec(self.workflow_spec)

    def render(self) -> JsonObject:
        """The object as the API shows it."""
        body: JsonObject = {"metadata": self.metadata.render(), "spec": self.raw_spec}
        if self.kind is Kind.CRON_WORKFLOW:
            body["status"] = self.status
        return body


class AlreadyExistsError(Exception):
    """An object of that kind and name exists."""


class ConflictError(Exception):
    """The object was changed since it was read."""


class ObjectTable:
    """All template objects of the server."""

    def __init__(self, db: sqlite3.Connection, next_version: Callable[[], int]) -> None:
        """Read the table.

        Args:
            db: the server's database; the table is made if it is not there.
            next_version: counts the resource version up, for good.
        """
        self._db, self._next_version = db, next_version
        db.executescript(SCHEMA)
        self._objects: dict[tuple[Kind, str, str], TemplateObject] = {}
        kinds = {kind.title: kind for kind in Kind}
        for title, body in cast("list[tuple[str, str]]", db.execute("SELECT kind, body FROM objects").fetchall()):
            stored = _Stored.model_validate_json(body)
            found = TemplateObject(kinds[title], stored.metadata, stored.raw_spec, stored.status)
            self._objects[found.kind, found.metadata.namespace, found.metadata.name] = found

    def get(self, kind: Kind, namespace: str, name: str) -> TemplateObject | None:
        """An object; a cluster's has no namespace, whatever is asked for."""
        return self._objects.get((kind, namespace if kind.namespaced else "", name))

    def all(self, kind: Kind, namespace: str) -> list[TemplateObject]:
        wanted = namespace if kind.namespaced else ""
        return [o for (of, where, _), o in sorted(self._objects.items(), key=lambda e: e[0][2])
                if of is kind and where == wanted]  # fmt: skip

    def add(self, new: TemplateObject) -> None:
        """Keep a new object.

        Raises:
            AlreadyExistsError: its name is taken.
        """
        if self.get(new.kind, new.metadata.namespace, new.metadata.name) is not None:
            raise AlreadyExistsError(f'{new.kind.resource} "{new.metadata.name}" already exists')
        self._write(new)

    def replace(self, old: TemplateObject, new: TemplateObject, resource_version: str | None = None) -> None:
        """Put an object in the place of another, which keeps its identity.

        Raises:
            ConflictError: `resource_version`, where given, is not the old one's.
        """
        if resource_version is not None and resource_version != str(old.metadata.resource_version):
            raise ConflictError(
                f'Operation cannot be fulfilled on {old.kind.resource} "{old.metadata.name}": the object has been '
                "modified; please apply your changes to the latest version and try again"
            )
        same: dict[str, object] = {
            key: getattr(old.metadata, key) for key in ("uid", "created", "generate_name", "generation")
        }
        new.metadata = new.metadata.model_copy(update=same)
        self._write(new)

    def remove(self, gone: TemplateObject) -> None:
        meta = gone.metadata
        self._db.execute(
            "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?",
            (gone.kind.title, meta.namespace, meta.name),
        )
        self._next_version()
        del self._objects[gone.kind, meta.namespace, meta.name]

    def _write(self, changed: TemplateObject) -> None:
        meta = changed.metadata
        meta.resource_version = self._next_version()
        meta.generation += 1
        stored = _Stored(metadata=meta, raw_spec=changed.raw_spec, status=changed.status)
        self._db.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
            (changed.kind.title, meta.namespace, meta.name, stored.model_dump_json()),
        )
        self._objects[changed.kind, meta.namespace, meta.name] = changed

    def finder(self, namespace: str) -> Callable[[Kind, str], TemplateObject | None]:
        """What a workflow of a namespace finds by kind and name."""
        return lambda kind, name: self.get(kind, namespace, name)
