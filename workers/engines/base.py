"""The one seam between this project and an engine: the `Engine` protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from workers.circuit import CircuitView
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, Outcome
from workflows.spec.sources import ArgoSource, KfpSource
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything an engine run is made of.

    Attributes:
        workflow: the meta-workflow's name.
        key: identity of the attempt; with `name` it makes the submission idempotent.
        name: `workflows.naming.engine_run_name(workflow, key)`.
        source: what to run, from the definition.
        manifest: text of the bundle's file that `source` names; None for templates and uploaded pipelines.
        parameters: values for the engine's parameters, by name.
        artifacts: what the engine run reads, by its own input names.
        spec_digest: sha256 over all the above but the key; a run of this name with another one is foreign.
        trace: W3C trace context for code in the engine run: `traceparent`, `tracestate`, `baggage`; not in the digest.
    """

    workflow: str
    key: RunKey
    name: str
    source: ArgoSource | KfpSource
    manifest: str | None
    parameters: JsonObject
    artifacts: Mapping[str, Artifact]
    spec_digest: str
    trace: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Unknown:
    """Names of parameters and artifacts whose values only a run knows."""

    parameters: Collection[str] = ()
    artifacts: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    node: str
    text: str
    at: datetime | None = None


class RunPhase(StrEnum):
    """How an engine run stands now. `FAILED` is any end but success; `GONE`: the engine has no record of it."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"

    @property
    def ended(self) -> bool:
        return self in (RunPhase.SUCCEEDED, RunPhase.FAILED)


@dataclass(frozen=True, slots=True)
class OurRun:
    """An engine run that says it is ours and that has not ended.

    Attributes:
        key: the run key it carries, as `str(RunKey)` writes it.
        state: the engine's own word.
        created_at: by the engine's clock.
    """

    key: str
    ref: EngineRunRef
    state: str
    created_at: datetime | None = None


class Verdict(StrEnum):
    """How one question to an engine, or to another server, was answered; WARN and SKIP are no failures."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """Answer to one question about an engine.

    Attributes:
        name: what was looked at, as `version`; unique in an engine's health.
        detail: what was found.
        hint: what to do; empty when nothing is to be done.
    """

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """What `meta doctor` shows of an engine.

    Attributes:
        ok: no check failed.
        message: of the check that failed first; else what the engine is.
        hint: what to do when it is not ok.
        checks: every question that was asked, in order; what cannot be asked after a failure is not there.
    """

    ok: bool
    version: str = ""
    message: str = ""
    hint: str = ""
    checks: tuple[EngineCheck, ...] = ()


class Engine(Protocol):
    """A named, configured engine. All methods are safe to repeat.

    All of them raise `EngineUnavailable` when the API does not answer, and `EngineRejected` when it refuses.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> EngineKind: ...

    @property
    def circuit(self) -> CircuitView:
        """What the circuit breaker in front of this process's calls to the engine is doing."""
        ...

    @property
    def awaited_runs(self) -> int:
        """How many runs this process waits for."""
        ...

    async def submit(self, submission: Submission) -> EngineRunRef:
        """Adopt the run of this key, creating it if there is none.

        Raises:
            EngineRunForeign: a run of this name carries another key or digest.
        """
        ...

    async def resume(self, ref: EngineRunRef, key: RunKey) -> EngineRunRef:
        """Retry a failed run in place (Argo `retry`, KFP `:retry`), once for each key.

        Args:
            ref: the run that failed.
            key: of the new attempt; a repeat with the same key does not retry twice.
        """
        ...

    async def wait(self, ref: EngineRunRef, alive: Callable[[], None]) -> Outcome:
        """Wait until the run ends and read its results at once, before anything can clean them up.

        Args:
            ref: what `submit` or `resume` gave.
            alive: called now and then while waiting, for heartbeats.

        Returns:
            The outcome, `failure=LOST` when the run or its results are gone.
        """
        ...

    async def terminate(self, key: RunKey, name: str, ref: EngineRunRef | None, *, grace: float = 0.0) -> bool:
        """End every run of this key and return once the engine confirms that they have ended.

        It covers a submit in flight: when there is no run yet it looks again after the settle delay.

        Args:
            key: of the attempt that made the run.
            name: the run's.
            ref: the run, where it is known.
            grace: seconds that a run may take to stop, its exit handlers included, before it is terminated. KFP knows
                no stop; there it is not looked at.

        Returns:
            True if there was a run.
        """
        ...

    def list_ours(self) -> AsyncIterator[OurRun]:
        """Runs in this engine's namespace that carry our identity and have not ended, page by page.

        The list may lag behind: what it shows as running can have ended, what is new can be missing.
        """
        ...

    async def phase_of(self, ref: EngineRunRef) -> RunPhase:
        """How one run stands; read by name or id, so that it does not lag as the list does."""
        ...

    def logs(self, ref: EngineRunRef, *, follow: bool = False) -> AsyncIterator[LogLine]:
        """Lines of all nodes. KFP's API has none beyond the run's own errors; then it yields those."""
        ...

    async def rehearse(self, submission: Submission, unknown: Unknown) -> list[EngineCheck]:
        """Ask whether a run could be submitted; nothing is made, and nothing is raised for an engine that is down.

        Args:
            submission: as it would be sent, with a name and key that belong to nobody.
            unknown: something fitting stands for these.

        Returns:
            The answers, in order: what the source names exists; it takes what is passed; we may run it. What cannot be
            asked after a failure is not there.
        """
        ...

    async def health(self) -> EngineHealth:
        """Probe; never raises for an engine that is down."""
        ...

    async def close(self) -> None:
        """Stop the watcher and close connections. Waits in flight are cancelled, engine runs are not."""
        ...
