"""What crosses Temporal: arguments and results of the workflow and its activities.

They live in histories for years, so they change by addition only; `SCHEMA` rises when a meaning changes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailedNode, FailureClass, RunState, StepState
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue, ValueType

SCHEMA = 1
WORKFLOW_TYPE = "MetaRun"
TASK_QUEUE = "meta-workflows"
WAIT_TASK_QUEUE = "meta-workflows-waits"


SUBMIT_TIMEOUT = timedelta(seconds=120)
"""Limit of one try of `submit` and of `resume`; it holds every time-out of an adapter's submit."""


class Activity(StrEnum):
    """Names of activities, as they stand in histories."""

    RESOLVE = "resolve"
    RESOLVE_OUTPUTS = "resolve_outputs"
    SUBMIT = "submit"
    RESUME = "resume"
    WAIT = "wait"
    TERMINATE = "terminate"
    RECORD = "record"
    RETRY_ON = "retry_on"
    STAGE = "stage_artifacts"


class SearchAttribute(StrEnum):
    """Search attributes, registered when the worker starts; `workflows.search` has their types."""

    WORKFLOW = "MetaWorkflow"
    STATUS = "MetaStatus"
    ENGINE = "MetaEngine"
    TRIGGER = "MetaTrigger"
    FAILED_STEP = "MetaFailedStep"


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Cause(Message):
    """What made a run start, for its trace.

    Attributes:
        kind: `grpc`, `nats`, `bridge`, `schedule`.
        name: what a span of it is called: the method, the subject, the schedule.
        at: when it came: the call, the message's storing, the planned time.
        attributes: of the span, by OpenTelemetry's semantic conventions.
    """

    kind: str
    name: str
    at: datetime | None = None
    attributes: dict[str, str] = Field(default_factory=dict)


class StartRun(Message):
    """Argument of the workflow. The meta-run's id is the Temporal workflow id."""

    schema_version: int = SCHEMA
    definition: MetaWorkflow
    bundle_digest: str
    inputs: JsonObject = Field(default_factory=dict)
    request_id: str = ""
    trigger: str = Field(default="api", description="What started it: api, nats, bridge.")
    trace: dict[str, str] = Field(
        default_factory=dict, description="W3C trace context of the cause: traceparent, tracestate, baggage."
    )
    cause: Cause | None = None
    named_timers: bool = Field(
        default=False,
        description="Timers of time-outs have summaries. Runs begun without keep their order of commands.",
    )


class StepView(Message):
    """What expressions can see of a finished step."""

    state: StepState
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)


class ResolveStep(Message):
    """All expressions of one step, with the values they may read."""

    meta_run: str
    definition: MetaWorkflow
    step: str
    inputs: JsonObject
    steps: dict[str, StepView]


class ResolvedStep(Message):
    """The recorded result; replay never evaluates again.

    Attributes:
        skip_reason: why the step does not run; empty when it does.
        copies: names of artifacts that the engine cannot read where they are; they are copied before the submit.
    """

    skip_reason: str = ""
    parameters: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    copies: list[str] = Field(default_factory=list)


class ResolveOutputs(Message):
    meta_run: str
    definition: MetaWorkflow
    inputs: JsonObject
    steps: dict[str, StepView]


class StageArtifacts(Message):
    """Artifacts to bring to where an engine can read them."""

    step: str
    engine: str
    artifacts: dict[str, Artifact]


class StagedArtifacts(Message):
    """The same artifacts, as the engine reads them."""

    artifacts: dict[str, Artifact]


class SubmitStep(Message):
    """The manifest is not here: the activity reads it from the bundle, so histories stay small.

    Attributes:
        previous: the engine run of the attempt before, which somebody may have retried by hand meanwhile; then this
            attempt waits for it instead of making a second one.
        trace: W3C trace context of the run's cause.
    """

    definition_name: str
    bundle_digest: str
    key: RunKey
    name: str
    resolved: ResolvedStep
    previous: EngineRunRef | None = None
    trace: dict[str, str] = Field(default_factory=dict)


class ResumeStep(Message):
    definition_name: str
    key: RunKey
    ref: EngineRunRef


class WaitStep(Message):
    definition_name: str
    key: RunKey
    ref: EngineRunRef
    outputs: dict[str, ValueType] = Field(default_factory=dict, description="Declared types, to convert to.")
    producer: str = ""


class StepOutcome(Message):
    """What the workflow keeps of an outcome; nodes stay in the store, but for the few that it failed by."""

    failure: FailureClass | None = None
    phase: str = ""
    message: str = ""
    failed_nodes: list[FailedNode] = Field(default_factory=list[FailedNode])
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    nodes: int = 0
    cached_nodes: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None


class TerminateStep(Message):
    """Ends the engine runs of a key.

    Attributes:
        attempt: key of the attempt that is ended, where another one, which it resumed, made the engine run.
        failure: what the workflow makes of the attempt, whatever the engine calls the end; None: unknown.
        grace: how long a run may take to stop by itself, its exit handlers included; zero: it is terminated at once.
        asked_at: when the workflow wanted the end; the grace counts from here, however often this is tried again.
    """

    engine: str
    key: RunKey
    name: str
    ref: EngineRunRef | None = None
    reason: str = ""
    attempt: RunKey | None = None
    failure: FailureClass | None = None
    grace: timedelta = timedelta(0)
    asked_at: datetime | None = None


class AskRetry(Message):
    """The expression of `retryOn`, and what it may read: `outcome`."""

    step: str
    expression: str
    attempt: int
    outcome: StepOutcome


class OtherRun(Message):
    """An engine run that came to be beside the adopted one of its key, and was ended.

    Attributes:
        attempt: whose key it carries.
        stays: uid of the run that was adopted.
        at: when it was told to end.
    """

    ref: EngineRunRef
    attempt: int
    stays: str
    at: datetime


class StepSnapshot(Message):
    """One step, as the workflow, the store, the API and the Temporal Web UI show it."""

    name: str
    kind: EngineKind
    engine: str
    state: StepState = StepState.PENDING
    attempt: int = 0
    message: str = ""
    failed_nodes: list[FailedNode] = Field(default_factory=list[FailedNode])
    run: EngineRunRef | None = None
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    nodes: int = 0
    cached_nodes: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    other_runs: list[OtherRun] = Field(
        default_factory=list[OtherRun], description="Ended beside the adopted ones; only the store knows them."
    )
    note: str = Field(default="", description="What became of the engine run after the step was done with it.")

    @property
    def duration(self) -> timedelta | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at


class RunSnapshot(Message):
    """A whole meta-run: the answer of the `state` query, the result of the workflow, the argument of `record`."""

    schema_version: int = SCHEMA
    id: str
    workflow: str
    bundle_digest: str
    request_id: str = ""
    trigger: str = ""
    temporal_run_id: str = ""
    state: RunState = RunState.RUNNING
    message: str = ""
    inputs: JsonObject = Field(default_factory=dict)
    outputs: JsonObject = Field(default_factory=dict)
    steps: list[StepSnapshot] = Field(default_factory=list[StepSnapshot])
    started_at: datetime | None = None
    finished_at: datetime | None = None
    trace: dict[str, str] = Field(default_factory=dict, description="W3C trace context of the run's cause.")
    cause: Cause | None = None
    temporal_namespace: str = Field(default="", description="Id of the Temporal namespace; written by the service.")


class ErrorDetail(Message):
    """Travels as the detail of an ApplicationError, whose type is the error's code."""

    code: str
    message: str
    hint: str = ""
    value: JsonValue = None
