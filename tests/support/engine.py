"""An engine inside the test's process, whose runs end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from workers.circuit import CircuitState, CircuitView
from workers.engines.base import EngineCheck, EngineHealth, LogLine, OurRun, RunPhase, Submission, Unknown, Verdict
from workflows.errors import EngineError, EngineRejected, EngineUnavailable
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef, FailureClass, Outcome


@dataclass
class ScriptedEngine:
    """Implements `workers.engines.base.Engine`.

    Attributes:
        script: what the runs of a step come to, attempt by attempt; a step without one succeeds at once.
        decides: what a run comes to by what was submitted, by step; wins over the script.
        submitted: every submission that was not just a repeat.
        resumed: keys of resumed attempts.
        terminated: names of ended runs.
        graces: how long each of them was given to stop, in seconds.
        refuse_end: what the next terminates are answered with.
        ends_as: what a run that is told to end comes to, as its wait sees it.
        refuse_resume: what resuming is answered with, if not by a retry in place.
        unavailable: how many submits fail before the API answers.
        rejected: message of a refusal, by step.
        hold_submit: submits wait for it; `holding` says that one does.
        peak: how many runs were unfinished at once, at most.
    """

    name: str = "argo"
    kind: EngineKind = EngineKind.ARGO
    script: dict[str, list[Outcome | None]] = field(default_factory=dict[str, list[Outcome | None]])
    decides: dict[str, Callable[[Submission], Outcome | None]] = field(
        default_factory=dict[str, Callable[[Submission], Outcome | None]]
    )
    submitted: list[Submission] = field(default_factory=list[Submission])
    resumed: list[RunKey] = field(default_factory=list[RunKey])
    terminated: list[str] = field(default_factory=list[str])
    graces: list[float] = field(default_factory=list[float])
    refuse_end: list[EngineError] = field(default_factory=list[EngineError])
    ends_as: FailureClass = FailureClass.CANCELLED
    refuse_resume: EngineError | None = None
    rejected: dict[str, str] = field(default_factory=dict[str, str])
    unavailable: int = 0
    circuit: CircuitView = field(
        default_factory=lambda: CircuitView(CircuitState.CLOSED, datetime(2026, 1, 1, tzinfo=UTC))
    )
    awaited_runs: int = 0
    hold_submit: asyncio.Event | None = None
    holding: bool = False
    peak: int = 0
    _runs: dict[str, asyncio.Future[Outcome]] = field(default_factory=dict[str, "asyncio.Future[Outcome]"])
    _attempts: dict[str, int] = field(default_factory=dict[str, int])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, submission: Submission) -> EngineRunRef:
        step = submission.key.step
        if self.unavailable:
            self.unavailable -= 1
            raise EngineUnavailable("503 from the engine", hint="wait")
        if self.hold_submit is not None:
            self.holding = True
            self._tell()
            await self.hold_submit.wait()
        if step in self.rejected:
            raise EngineRejected(self.rejected[step])
        if submission.name not in self._runs:
            self.submitted.append(submission)
            self._begin(step, submission.name, submission)
            self.peak = max(self.peak, len(self.running()))
        return EngineRunRef(engine=self.name, kind=self.kind, name=submission.name, uid=f"uid-{submission.name}")

    async def resume(self, ref: EngineRunRef, key: RunKey) -> EngineRunRef:
        self.resumed.append(key)
        if self.refuse_resume is not None:
            raise self.refuse_resume
        self._begin(key.step, ref.name)
        return ref

    async def wait(self, ref: EngineRunRef, alive: Callable[[], None]) -> Outcome:
        alive()
        waiting = asyncio.ensure_future(asyncio.shield(self._runs[ref.name]))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.5)
            alive()
        return waiting.result()

    async def terminate(self, key: RunKey, name: str, ref: EngineRunRef | None, *, grace: float = 0.0) -> bool:
        self.terminated.append(name)
        self.graces.append(grace)
        if self.refuse_end:
            raise self.refuse_end.pop(0)
        run = self._runs.get(name)
        if run is not None and not run.done():
            run.set_result(Outcome(failure=self.ends_as, message="ended"))
        self._tell()
        return run is not None

    async def list_ours(self) -> AsyncIterator[OurRun]:
        for one in self.submitted:
            if not self._runs[one.name].done():
                ref = EngineRunRef(engine=self.name, kind=self.kind, name=one.name, uid=f"uid-{one.name}")
                yield OurRun(key=str(one.key), ref=ref, state="Running")

    async def phase_of(self, ref: EngineRunRef) -> RunPhase:
        run = self._runs.get(ref.name)
        if run is None:
            return RunPhase.GONE
        if not run.done():
            return RunPhase.RUNNING
        return RunPhase.SUCCEEDED if run.result().succeeded else RunPhase.FAILED

    def retry_by_hand(self, step: str) -> None:
        """Start the newest run of a step again in place, as a person does at the engine."""
        name = next(one.name for one in reversed(self.submitted) if one.key.step == step)
        self._begin(step, name)

    async def logs(self, ref: EngineRunRef, *, follow: bool = False) -> AsyncIterator[LogLine]:
        yield LogLine(node=ref.name, text="a line")

    async def rehearse(self, submission: Submission, unknown: Unknown) -> list[EngineCheck]:
        refused = self.rejected.get(submission.key.step)
        if refused is not None:
            return [EngineCheck("create", Verdict.FAIL, refused)]
        return [EngineCheck("create", Verdict.OK, f"{len(unknown.parameters)} values come in the run")]

    async def health(self) -> EngineHealth:
        return EngineHealth(ok=True, version="test")

    async def close(self) -> None:
        for run in self._runs.values():
            run.cancel()

    def finish(self, step: str, outcome: Outcome | None = None) -> None:
        """End the run of a step that the script left running."""
        for submission in self.submitted:
            run = self._runs[submission.name]
            if submission.key.step == step and not run.done():
                run.set_result(outcome or Outcome())

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until something that this engine saw makes the condition true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def running(self) -> list[RunKey]:
        """Whose runs have not ended; of a run that was resumed the first attempt's."""
        return [one.key for one in self.submitted if not self._runs[one.name].done()]

    def finish_one(self) -> None:
        """End the first run that goes on, well."""
        next(run for run in self._runs.values() if not run.done()).set_result(Outcome())

    def forget(self) -> None:
        """Be as new, for the next test; no run is going on."""
        self.script, self.submitted, self.terminated = {}, [], []
        self.graces, self.hold_submit, self.holding = [], None, False
        self._attempts.clear()

    def steps(self) -> list[str]:
        return [s.key.step for s in self.submitted]

    def _begin(self, step: str, name: str, submission: Submission | None = None) -> None:
        run: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._runs[name] = run
        number = self._attempts.get(step, 0)
        self._attempts[step] = number + 1
        outcomes = self.script.get(step)
        outcome = Outcome() if outcomes is None else outcomes[min(number, len(outcomes) - 1)]
        if submission is not None and step in self.decides:
            outcome = self.decides[step](submission)
        if outcome is not None:
            run.set_result(outcome)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
