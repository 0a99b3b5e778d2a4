"""What crosses Temporal: arguments and results of the workflow and its activities.

They live in histories for years, so they change by addition only; `SCHEMA` rises when a meaning changes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workflows.naming import RunKey
from workflows.outcome import (
    Artifact,
    EngineKind,
    EngineRunRef,
    FailedNode,
    FailureClass,
    RunState,
    StepKind,
    StepState,
)
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
    WAIT_EVENT = "wait_for_event"
    TAKE_RESULT = "take_result"
    PREPARE_CHILD = "prepare_child"
    PREPARE_TICK = "prepare_tick"
    PREPARE_PARTITION = "prepare_partition"
    RECORD_START = "record_start"
    FIND_CACHED = "find_cached"


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
        kind: `grpc`, `nats`, `bridge`, `schedule`, `backfill`, `workflow`.
        name: what a span of it is called: the method, the subject, the schedule, the step of another run.
        at: when it came: the call, the message's storing, the planned time.
        attributes: of the span, by OpenTelemetry's semantic conventions.
    """

    kind: str
    name: str
    at: datetime | None = None
    attributes: dict[str, str] = Field(default_factory=dict)


class Taken(Message):
    """Whose success stands for work that was not run.

    Attributes:
        how: `cache`: the same work had succeeded; `retry`: the run that this one retries had done it.
        at: when that success ended.
    """

    how: Literal["cache", "retry"]
    run: str
    step: str
    index: int = 0
    at: datetime | None = None

    def words(self, name: str) -> str:
        """What people read of it beside the step of this name."""
        step = f"step {self.step} of " if self.step != name else ""
        item = f"item {self.index - 1} of " if self.index else ""
        return f"taken from {item}{step}run {self.run} ({self.how})"


class Asked(Message):
    """What an approval asks, as the person who decides sees it.

    Attributes:
        digest: of prompt, parameters and artifacts (`sha256:...`); a decision names it.
        deadline: when the time-out decides; None: never.
        on_timeout: what it decides: fail, approve, reject.
    """

    prompt: str
    parameters: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    approvers: list[str] = Field(default_factory=list[str])
    digest: str
    deadline: datetime | None = None
    on_timeout: str = "fail"


class Decision(Message):
    """Who decided an approval, when, why, and on what (`digest` of what was asked). `by` is empty for a time-out."""

    approved: bool
    by: str
    at: datetime
    reason: str = ""
    digest: str = ""


class ItemCounts(Message):
    """How far a fan-out is. The rest of `total` has not begun; `taken` of those that succeeded were not run."""

    total: int
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    taken: int = 0


class EngineChoice(Message):
    """The engine that a step's use case went to when the run was started."""

    engine: str
    kind: EngineKind


class StepRole(StrEnum):
    """Why a step is part of a run."""

    STEP = "step"
    COMPENSATION = "compensation"
    FINALLY = "finally"


class Reused(Message):
    """A step's success in another run, which stands for this run's."""

    taken_from: Taken
    outcome: StepOutcome


class StartRun(Message):
    """Argument of the workflow. The meta-run's id is the Temporal workflow id.

    Attributes:
        definition: with its use cases settled.
        reuse: steps that are not run, by name.
        retry_of: id of the run that they were run in; empty when this run retries none.
        choices: what use cases were settled to, by step.
        parent: id of the meta-run that this one is a step of; empty when it is none's.
        depth: how many meta-runs this one is below.
        no_cache: earlier successes are not looked for; what succeeds can stand for later work all the same.
    """

    schema_version: int = SCHEMA
    definition: MetaWorkflow
    bundle_digest: str
    inputs: JsonObject = Field(default_factory=dict)
    request_id: str = ""
    trigger: str = Field(default="api", description="What started it: api, nats, bridge, schedule, backfill, workflow.")
    trace: dict[str, str] = Field(
        default_factory=dict, description="W3C trace context of the cause: traceparent, tracestate, baggage."
    )
    cause: Cause | None = None
    named_timers: bool = Field(
        default=False,
        description="Timers of time-outs have summaries. Runs begun without keep their order of commands.",
    )
    reuse: dict[str, Reused] = Field(default_factory=dict)
    choices: dict[str, EngineChoice] = Field(default_factory=dict)
    retry_of: str = ""
    parent: str = ""
    depth: int = 0
    no_cache: bool = False


class Origin(Message):
    """What an execution of a step needs to know of its run.

    Attributes:
        choices: what use cases were settled to, by step.
        depth: how many meta-runs the run is below.
        no_cache: as `StartRun` has it.
    """

    run_id: str
    workflow: str
    bundle_digest: str
    trace: dict[str, str] = Field(default_factory=dict)
    choices: dict[str, EngineChoice] = Field(default_factory=dict)
    named_timers: bool = True
    depth: int = 0
    no_cache: bool = False


class StepView(Message):
    """What expressions can see of a finished step.

    Attributes:
        message: why it did not succeed.
        artifact_lists: of a fan-out, in the items' order; None where an item gave none.
        continued: it did not succeed, and `continueOn` lets the run go on.
        stored: outputs and artifacts of a fan-out are too large to travel; the store has them by item.
        items: of a fan-out.
    """

    state: StepState
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    message: str = ""
    artifact_lists: dict[str, list[Artifact | None]] = Field(default_factory=dict)
    continued: bool = False
    stored: bool = False
    items: ItemCounts | None = None


class ResolveStep(Message):
    """All expressions of one step, with the values they may read."""

    meta_run: str
    definition: MetaWorkflow
    step: str
    inputs: JsonObject
    steps: dict[str, StepView]
    outcome: JsonObject | None = Field(
        default=None, description="How the run ended: state, message, failed_step; for compensations and `finally`."
    )


class ResolvedStep(Message):
    """The recorded result; replay never evaluates again.

    Attributes:
        skip_reason: why the step does not run; empty when it does.
        copies: names of artifacts that the engine cannot read where they are; they are copied before the submit.
        text: the rendered text of the step's kind: an approval's prompt, a wait's `until` or subject.
        items: what a fan-out runs over; its parameters and artifacts are worked out item by item.
        variables: values that an event's condition reads beside `event`, by qualified name.
        cache_key: the rendered `cache.key`.
    """

    skip_reason: str = ""
    parameters: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    copies: list[str] = Field(default_factory=list)
    text: str = ""
    items: list[JsonValue] | None = None
    variables: JsonObject = Field(default_factory=dict)
    cache_key: str = ""


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
    key: RunKey | None = Field(default=None, description="Of the item of a fan-out that they are for; attempt 0.")


class StagedArtifacts(Message):
    """The same artifacts, as the engine reads them."""

    artifacts: dict[str, Artifact]


class SubmitStep(Message):
    """The manifest is not here: the activity reads it from the bundle, so histories stay small.

    Attributes:
        previous: the engine run of the attempt before, which somebody may have retried by hand meanwhile; then this
            attempt waits for it instead of making a second one.
        trace: W3C trace context of the run's cause.
        choice: what the step's use case was settled to.
    """

    definition_name: str
    bundle_digest: str
    key: RunKey
    name: str
    resolved: ResolvedStep
    previous: EngineRunRef | None = None
    trace: dict[str, str] = Field(default_factory=dict)
    choice: EngineChoice | None = None


class ResumeStep(Message):
    definition_name: str
    key: RunKey
    ref: EngineRunRef


class WaitStep(Message):
    """Which engine run to wait for.

    Attributes:
        cache_key: digest of the work, under which a success is kept to stand for the same; empty: it is not kept.
    """

    definition_name: str
    key: RunKey
    ref: EngineRunRef
    outputs: dict[str, ValueType] = Field(default_factory=dict, description="Declared types, to convert to.")
    producer: str = ""
    cache_key: str = ""


class StepOutcome(Message):
    """What the workflow keeps of an outcome; nodes stay in the store, but for the few that it failed by.

    Attributes:
        artifact_lists, stored: of a fan-out, as `StepView` has them.
    """

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
    artifact_lists: dict[str, list[Artifact | None]] = Field(default_factory=dict)
    stored: bool = False
    taken_from: Taken | None = None
    decision: Decision | None = None


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
    key: RunKey | None = Field(default=None, description="Of the item's attempt, in a fan-out.")


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
    kind: StepKind
    engine: str
    role: StepRole = StepRole.STEP
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
    artifact_lists: dict[str, list[Artifact | None]] = Field(default_factory=dict)
    stored: bool = False
    items: ItemCounts | None = Field(default=None, description="Of a fan-out.")
    taken_from: Taken | None = Field(default=None, description="Whose success it is, when it was not run.")
    asked: Asked | None = Field(default=None, description="What an approval asks.")
    decision: Decision | None = None
    child: str = Field(default="", description="Id of the meta-run that it runs.")
    continued: bool = Field(default=False, description="It did not succeed, and `continueOn` lets the run go on.")

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

    parent: str = Field(default="", description="Id of the meta-run that this one is a step of.")
    retry_of: str = Field(default="", description="Id of the run whose finished steps this one took over.")
    retried_as: list[str] = Field(
        default_factory=list[str], description="Ids of the runs that retry this one; only the store knows them."
    )


class ErrorDetail(Message):
    """Travels as the detail of an ApplicationError, whose type is the error's code."""

    code: str
    message: str
    hint: str = ""
    value: JsonValue = None


Reused.model_rebuild()
StartRun.model_rebuild()
