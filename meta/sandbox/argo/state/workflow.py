"""One workflow: metadata, the spec as it came, the spec as it is understood, and its status."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from hera.workflows import models as m
from pydantic import BaseModel, JsonValue

from meta.sandbox.argo.state.metadata import Metadata
from meta.sandbox.argo.state.names import node_id
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, Shutdown, WorkflowStatus

LABEL_PHASE = "workflows.argoproj.io/phase"
LABEL_COMPLETED = "workflows.argoproj.io/completed"
LABEL_ARCHIVING = "workflows.argoproj.io/workflow-archiving-status"
ARCHIVED = "Archived"
ANNOTATION_SCHEDULED = "workflows.argoproj.io/scheduled-time"
ANNOTATION_POD_NAMES = "workflows.argoproj.io/pod-name-format"


class _Stored(BaseModel):
    metadata: Metadata
    raw_spec: JsonObject
    status: WorkflowStatus


@dataclass
class Workflow:
    """A workflow in memory; only the controller's task changes it."""

    metadata: Metadata
    raw_spec: JsonObject
    status: WorkflowStatus = field(default_factory=WorkflowStatus)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def key(self) -> tuple[str, str]:
        return self.metadata.namespace, self.metadata.name

    @cached_property
    def spec(self) -> m.WorkflowSpec:
        from meta.sandbox.argo.manifest.read import parse_spec

        return parse_spec(self.status.stored_workflow_template_spec or self.raw_spec)

    @property
    def shutdown(self) -> Shutdown:
        return Shutdown(cast("str", self.raw_spec.get("shutdown", "")))

    def change_spec(self, **values: JsonValue) -> None:
        """Set fields of the spec, also of the one that was made with a template's; None takes one out."""
        for spec in filter(None, (self.raw_spec, self.status.stored_workflow_template_spec)):
            for key, value in values.items():
                if value is None:
                    spec.pop(key, None)
                else:
                    spec[key] = value
        self.__dict__.pop("spec", None)

    def store_spec(self, spec: JsonObject) -> None:
        """Run with that spec from now on: the workflow's own over its template's (`setStoredWfSpec`)."""
        self.status.stored_workflow_template_spec = spec
        self.__dict__.pop("spec", None)

    def node(self, name: str) -> NodeStatus | None:
        return self.status.nodes.get(node_id(self.name, name))

    def render(self) -> JsonObject:
        """The object as the API shows it."""
        spec: JsonObject = {**self.raw_spec}
        spec.setdefault("arguments", {})
        return {"metadata": self.metadata.render(), "spec": spec, "status": self.status.render()}

    def to_json(self) -> str:
        stored = _Stored(metadata=self.metadata, raw_spec=self.raw_spec, status=self.status)
        return stored.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, text: str) -> Workflow:
        stored = _Stored.model_validate_json(text)
        return cls(stored.metadata, stored.raw_spec, stored.status)
