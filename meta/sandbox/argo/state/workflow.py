"""One workflow: metadata, the spec as it came, the spec as it is understood, and its status."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import cast

from hera.workflows import models as m
from pydantic import BaseModel, Field

from meta.sandbox.argo.state.names import node_id
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, Shutdown, WorkflowStatus, k8s_time, now

LABEL_PHASE = "workflows.argoproj.io/phase"
LABEL_COMPLETED = "workflows.argoproj.io/completed"
ANNOTATION_POD_NAMES = "workflows.argoproj.io/pod-name-format"


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that the server keeps."""

    name: str
    namespace: str
    uid: str = Field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = Field(default_factory=now)
    generate_name: str | None = None
    resource_version: int = 0
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    def render(self) -> JsonObject:
        body: JsonObject = {"name": self.name}
        if self.generate_name:
            body["generateName"] = self.generate_name
        body |= {
            "namespace": self.namespace,
            "uid": self.uid,
            "resourceVersion": str(self.resource_version),
            "generation": self.generation,
            "creationTimestamp": k8s_time(self.created),
        }
        if self.labels:
            body["labels"] = dict(self.labels)
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        return body


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

        return parse_spec(self.raw_spec)

    @property
    def shutdown(self) -> Shutdown:
        return Shutdown(cast("str", self.raw_spec.get("shutdown", "")))

    def change_spec(self, **values: str | bool | None) -> None:
        """Set fields of the spec; None takes one out."""
        for key, value in values.items():
            if value is None:
                self.raw_spec.pop(key, None)
            else:
                self.raw_spec[key] = value
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
