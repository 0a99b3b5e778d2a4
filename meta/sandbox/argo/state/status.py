"""The status of a workflow, written as the real controller writes it (pkg/apis/workflow/v1alpha1)."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from hera.workflows import models as m
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_serializer
from pydantic.alias_generators import to_camel

JsonObject = dict[str, JsonValue]


class Phase(StrEnum):
    """Phases of nodes; a workflow uses the same, without Skipped and Omitted."""

    UNKNOWN = ""
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    FAILED = "Failed"
    ERROR = "Error"
    OMITTED = "Omitted"

    @property
    def fulfilled(self) -> bool:
        return self.completed or self in {Phase.SKIPPED, Phase.OMITTED}

    @property
    def completed(self) -> bool:
        return self is Phase.SUCCEEDED or self.unsuccessful

    @property
    def unsuccessful(self) -> bool:
        return self in {Phase.FAILED, Phase.ERROR}


class NodeType(StrEnum):
    POD = "Pod"
    STEPS = "Steps"
    STEP_GROUP = "StepGroup"
    DAG = "DAG"
    TASK_GROUP = "TaskGroup"
    CONTAINER = "Container"
    RETRY = "Retry"
    SKIPPED = "Skipped"
    SUSPEND = "Suspend"
    HTTP = "HTTP"


class Shutdown(StrEnum):
    """`spec.shutdown`."""

    NONE = ""
    STOP = "Stop"
    TERMINATE = "Terminate"

    def allows(self, *, on_exit: bool) -> bool:
        """Whether work may go on: a stop lets exit handlers run, a terminate nothing."""
        return self is Shutdown.NONE or (self is Shutdown.STOP and on_exit)


def now() -> datetime:
    """The time as Kubernetes keeps it: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def k8s_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _alias(name: str) -> str:
    return "boundaryID" if name == "boundary_id" else to_camel(name)


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=_alias, populate_by_name=True, validate_assignment=False)

    @field_serializer("started_at", "finished_at", check_fields=False)
    def _times(self, value: datetime | None) -> str | None:
        return None if value is None else k8s_time(value)


class NodeFlag(_Model):
    hooked: bool | None = None
    retried: bool | None = None


class MemoizationStatus(_Model):
    hit: bool
    key: str
    cache_name: str


class NodeStatus(_Model):
    id: str
    name: str
    display_name: str
    type: NodeType
    template_name: str | None = None
    template_ref: m.TemplateRef | None = None
    template_scope: str | None = None
    template_key: str | None = None  # ours, not shown: `operator/templates.py`, where it is not the template's name
    phase: Phase
    boundary_id: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: str | None = None
    inputs: m.Inputs | None = None
    outputs: m.Outputs | None = None
    children: list[str] = Field(default_factory=list)
    outbound_nodes: list[str] = Field(default_factory=list)
    host_node_name: str | None = None
    resources_duration: dict[str, int] | None = None
    node_flag: NodeFlag | None = None
    memoization_status: MemoizationStatus | None = None
    synchronization_status: m.NodeSynchronizationStatus | None = None

    @property
    def waits_for_lock(self) -> bool:
        return self.synchronization_status is not None and self.phase is Phase.PENDING

    @property
    def fulfilled(self) -> bool:
        return self.phase.fulfilled

    @property
    def template(self) -> str | None:
        """The key of the template that the node is a use of."""
        return self.template_key or self.template_name

    @property
    def template_of_pod(self) -> str:
        """The template's own name, which pods' names contain; empty for an inline one."""
        return self.template_name or (self.template_ref.template if self.template_ref else None) or ""

    def render(self) -> JsonObject:
        body: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"template_key"})
        for key in ("children", "outboundNodes"):
            if not body[key]:
                del body[key]
        body.setdefault("startedAt", None)  # Go's zero time: present and null, as clients must expect it
        body.setdefault("finishedAt", None)
        return body


class Condition(_Model):
    type: str
    status: str | None = None
    message: str | None = None


class WorkflowStatus(_Model):
    phase: Phase = Phase.UNKNOWN
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: str | None = None
    resources_duration: dict[str, int] | None = None
    task_results_completion_status: dict[str, bool] | None = None
    nodes: dict[str, NodeStatus] = Field(default_factory=dict)
    outputs: m.Outputs | None = None
    conditions: list[Condition] = Field(default_factory=list[Condition])
    artifact_repository_ref: JsonObject | None = None
    synchronization: m.SynchronizationStatus | None = None
    stored_templates: dict[str, JsonObject] = Field(default_factory=dict)
    stored_workflow_template_spec: JsonObject | None = None

    def set_condition(self, kind: str, status: str, message: str | None = None) -> None:
        """Add a condition or replace the one of its kind."""
        fresh = Condition(type=kind, status=status, message=message)
        for index, condition in enumerate(self.conditions):
            if condition.type == kind:
                self.conditions[index] = fresh
                return
        self.conditions.append(fresh)

    def render(self) -> JsonObject:
        body: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"nodes"})
        if self.nodes:
            body["nodes"] = {key: node.render() for key, node in self.nodes.items()}
        for key in ("phase", "conditions", "storedTemplates"):
            if not body[key]:
                del body[key]
        body.setdefault("startedAt", None)
        body.setdefault("finishedAt", None)
        return body
