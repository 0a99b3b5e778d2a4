"""What a step runs: one of six kinds, and which one a compensation can be."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from workflows.spec.base import Duration, Label, Model
from workflows.spec.durations import parse_time
from workflows.spec.subjects import subject_fault
from workflows.spec.trigger_models import STREAM


class ArgoSource(Model):
    """What an Argo step runs: exactly one of a manifest, a template of either scope, a CronWorkflow's template."""

    manifest: str | None = Field(default=None, description="Path of a Workflow manifest, relative to the definition.")
    template: str | None = Field(default=None, description="Name of a WorkflowTemplate in the engine's namespace.")
    cluster_template: str | None = Field(default=None, description="Name of a ClusterWorkflowTemplate.")
    cron_workflow: str | None = Field(default=None, description="Name of a CronWorkflow; what it schedules is run.")
    engine: Label = Field(default="argo", description="Name of the engine in the configuration.")
    service_account: str | None = Field(default=None, description="Of the pods; wins over manifest and engine.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.manifest, self.template, self.cluster_template, self.cron_workflow)) != 1:
            raise ValueError("give exactly one of 'manifest', 'template', 'clusterTemplate', 'cronWorkflow'")
        return self


class KfpSource(Model):
    """What a KFP step runs: a package in the bundle, or an uploaded pipeline."""

    package: str | None = Field(
        default=None,
        description="Path of a compiled pipeline, relative to the definition; or of a Python file with a @dsl.pipeline,"
        " `pipelines.py:train` when it has several.",
    )
    pipeline: str | None = Field(default=None, description="Name of an uploaded pipeline.")
    version: str | None = Field(default=None, description="Name of its version; the newest when left out.")
    engine: Label = Field(default="kfp", description="Name of the engine in the configuration.")
    cache: StrictBool = Field(default=True, description="False: KFP's own cache is not used.")
    experiment: str | None = Field(default=None, description="KFP experiment; by default the meta-workflow's name.")
    pipeline_root: str | None = Field(default=None, description="Where KFP writes artifacts; by default the engine's.")
    service_account: str | None = Field(default=None, description="Of the run's pods; by default the engine's.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.package is None) == (self.pipeline is None):
            raise ValueError("give exactly one of 'package', 'pipeline'")
        if self.version is not None and self.pipeline is None:
            raise ValueError("'version' goes with 'pipeline'")
        return self


class ApprovalSource(Model):
    """A person decides: the step succeeds when somebody approves, and fails when somebody rejects.

    What is approved is what the person sees: the prompt, the step's parameters and its artifacts. Its digest stands in
    the request and in the decision.
    """

    prompt: str = Field(min_length=1, description="What is asked; may hold ${{ expressions }}.")
    approvers: list[str] = Field(
        default_factory=list[str], description="Who may decide, by the name that they give; anybody when left out."
    )
    timeout: Duration | None = Field(default=None, description="How long to wait; for ever when left out.")
    on_timeout: Literal["fail", "approve", "reject"] = Field(
        default="fail", description="What the time-out decides; fail: the step is timed_out."
    )


def _subject(value: str) -> str:
    if "${{" not in value and (fault := subject_fault(value, wildcards=True)):
        raise ValueError(fault)
    return value


class EventSource(Model):
    """A message on a NATS subject; its fields become the step's outputs `event` and `subject`."""

    subject: Annotated[str, AfterValidator(_subject)] = Field(
        description="Of a JetStream stream, with wildcards; may hold ${{ expressions }}."
    )
    when: str | None = Field(
        default=None, description="CEL over 'event', 'inputs', 'steps' and 'run': which message it is."
    )
    stream: str | None = Field(
        default=None,
        pattern=STREAM,
        max_length=100,
        description="Stream to read; by default the one that has the subject.",
    )


class WaitSource(Model):
    """Time, or a message, passes: exactly one of a duration, a point in time, an event."""

    duration: Duration | None = Field(default=None, description="So long.")
    until: str | None = Field(
        default=None,
        description="RFC 3339 with a time zone, or ${{ an expression }} that gives one; in the past: none.",
    )
    event: EventSource | None = Field(
        default=None, description="The first message that fits, from the step's begin on."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.duration, self.until, self.event)) != 1:
            raise ValueError("give exactly one of 'duration', 'until', 'event'")
        if self.until is not None and "${{" not in self.until:
            parse_time(self.until)
        return self


class WorkflowSource(Model):
    """Another meta-workflow, as a run of its own; the step's parameters are its inputs, its outputs the step's."""

    name: Label = Field(description="A published meta-workflow; its newest version when the step begins.")


class ActivitySource(Model):
    """A Temporal activity that somebody else's worker serves; the parameters are its one argument, an object."""

    name: str = Field(min_length=1, max_length=200, description="The activity's registered name.")
    task_queue: str = Field(min_length=1, max_length=200, description="Of the worker that has it.")
    heartbeat_timeout: Duration | None = Field(
        default=None, description="After so long a silence the attempt counts as lost."
    )
    schedule_timeout: Duration = Field(
        default=timedelta(hours=1), description="How long it may wait for a worker to take it."
    )


Source = ArgoSource | KfpSource | ApprovalSource | WaitSource | WorkflowSource | ActivitySource
