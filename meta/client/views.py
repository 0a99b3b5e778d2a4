"""What the SDK gives back."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from meta.trace.model import Span
from workflows.errors import MetaError
from workflows.messages import Asked, Decision, RunSnapshot
from workflows.outcome import Artifact, EngineRunRef, StepState
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunView(RunSnapshot):
    """A meta-run with its steps; `temporal_url` is its page in Temporal's Web UI, empty when none is configured."""

    temporal_url: str = ""


class ItemInfo(View):
    """What an item of a fan-out came to; `index` from 0, `item` is what it ran over, `url` its engine run's page."""

    index: int
    state: StepState
    attempt: int = 0
    message: str = ""
    item: JsonValue = None
    outputs: JsonObject = {}
    artifacts: dict[str, Artifact] = {}
    engine_run: str = ""
    url: str = ""


class StartedRun(View):
    """A run that was started; `created` is False when the request id had started it before."""

    id: str
    created: bool
    temporal_url: str = ""


class WaitingApproval(View):
    """An approval that waits for a decision; `since` is when it began to."""

    run: str
    workflow: str
    step: str
    asked: Asked
    since: datetime | None = None


class DecidedInfo(View):
    """What a step's decision is; `decided` is False when the same had been decided before."""

    step: str
    decision: Decision
    decided: bool


class RetriedRun(StartedRun):
    """A run that retries another one.

    Attributes:
        taken: steps that it takes over.
        again: why a step runs again, by its name. Those that are in neither were skipped, and will be again.
    """

    taken: list[str] = Field(default_factory=list[str])
    again: dict[str, str] = Field(default_factory=dict[str, str])


class RunsPage(View):
    """Runs without steps, newest first; `next_token` is empty on the last page."""

    runs: list[RunView]
    next_token: str = ""


class PublishedInfo(View):
    """The newest version of a published workflow."""

    name: str
    version: int
    description: str
    bundle_digest: str
    published_at: datetime
    definition: MetaWorkflow


class CircuitInfo(View):
    """A worker's circuit breaker in front of an engine (`closed`, `open`, `half_open`), as it was at `seen_at`."""

    worker: str
    state: str
    since: datetime | None = None
    reason: str = ""
    retry_at: datetime | None = None
    awaited_runs: int = 0
    seen_at: datetime | None = None

    def __str__(self) -> str:
        age = "" if self.seen_at is None else f", {(datetime.now(UTC) - self.seen_at).total_seconds():.0f} s ago"
        since = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        words = f"worker {self.worker}: circuit {self.state}{since}{age}; waits for {self.awaited_runs} runs"
        return f"{words}; {self.reason}" if self.reason else words


class EngineCheckInfo(View):
    """One question to an engine; `verdict` is ok, warn, fail or skip, `hint` says what to do."""

    name: str
    verdict: str
    detail: str = ""
    hint: str = ""


class EngineInfo(View):
    """A configured engine, whether it answers, and which use cases go to it; `hint` says what to do when it is down."""

    name: str
    kind: str
    url: str
    ok: bool
    version: str = ""
    message: str = ""
    hint: str = ""
    checks: tuple[EngineCheckInfo, ...] = ()
    circuits: list[CircuitInfo] = Field(default_factory=list[CircuitInfo])
    use_cases: tuple[str, ...] = ()


class OrphanInfo(View):
    """An engine run that goes on and belongs to no live meta-run.

    Attributes:
        key: the run key it carries: meta-run, step, index, attempt.
        meta_run: empty when the key cannot be read.
        state: the engine's own word.
        reason: why it is one, in a few words; `detail` says more.
        swept: the service ends it by itself.
    """

    run: EngineRunRef
    key: str
    meta_run: str
    state: str
    reason: str
    detail: str = ""
    swept: bool = False
    created_at: datetime | None = None


class MissingInfo(View):
    """A running step of a live meta-run whose engine run the engine no longer has."""

    meta_run: str
    step: str
    run: EngineRunRef


class EngineProblem(View):
    """An engine that could not be asked."""

    engine: str
    message: str
    hint: str = ""


class EndedOrphan(View):
    """What became of ending an orphan; `message` says why it has not ended yet."""

    engine: str
    name: str
    uid: str
    ended: bool
    message: str = ""


OrphanNews = OrphanInfo | MissingInfo | EngineProblem | EndedOrphan


class LogEntry(View):
    step: str
    node: str
    text: str
    at: datetime | None = None


class TraceView(View):
    """The trace of a run as far as it is known.

    Attributes:
        trace_id: 32 hex digits.
        url: its page in the configured backend; empty when none is configured.
        spans: parents before their children; those that go on have no end.
        resource: attributes of the service that tells them.
    """

    trace_id: str
    url: str
    spans: list[Span]
    resource: dict[str, str] = Field(default_factory=dict)


class RunFailed(MetaError):
    """`result` of a run that did not succeed; `run` says all about it."""

    code = "RUN_FAILED"

    def __init__(self, run: RunView) -> None:
        super().__init__(
            f"run {run.id} {run.state.value}: {run.message or 'no message'}",
            hint=f"`meta get {run.id}` shows its steps",
        )
        self.run = run
