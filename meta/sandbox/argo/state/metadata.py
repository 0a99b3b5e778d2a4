"""Names, identity and labels of objects, as Kubernetes keeps them."""

from __future__ import annotations

import uuid
from datetime import datetime

from pydantic import BaseModel, Field

from meta.sandbox.argo.state.status import JsonObject, k8s_time, now


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that the server keeps; a cluster's object has an empty namespace."""

    name: str
    namespace: str
    uid: str = Field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = Field(default_factory=now)
    generate_name: str | None = None
    resource_version: int = 0
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[JsonObject] = Field(default_factory=list)

    def render(self) -> JsonObject:
        body: JsonObject = {"name": self.name}
        if self.generate_name:
            body["generateName"] = self.generate_name
        if self.namespace:
            body["namespace"] = self.namespace
        body |= {
            "uid": self.uid,
            "resourceVersion": str(self.resource_version),
            "generation": self.generation,
            "creationTimestamp": k8s_time(self.created),
        }
        if self.labels:
            body["labels"] = dict(self.labels)
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        if self.owner_references:
            body["ownerReferences"] = [*self.owner_references]
        return body
