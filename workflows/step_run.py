"""One step of a running meta-run: whether it runs and with what, then the doing, then its end on the board."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import calls
from workflows.attempts import message_of
from workflows.board import Board
from workflows.caching import do_cached
from workflows.messages import Origin, ResolvedStep, ResolveStep, StartRun
from workflows.outcome import EngineRunRef, StepState
from workflows.spec.durations import format_duration
from workflows.work import End, Job, Progress


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps of a run share.

    Attributes:
        id: of the meta-run.
        start: what it was started with.
        board: where the state goes.
        changed: called after each change of the board.
        told: waits until the store knows what has ended before.
    """

    id: str
    start: StartRun
    board: Board
    changed: Callable[[], None]
    told: Callable[[], Awaitable[None]]

    @property
    def origin(self) -> Origin:
        start = self.start
        return Origin(
            run_id=self.id,
            workflow=start.definition.name,
            bundle_digest=start.bundle_digest,
            trace=start.trace,
            choices=start.choices,
            named_timers=start.named_timers,
            no_cache=start.no_cache,
        )


class OnBoard(Progress):
    """Writes how a step goes on to the board."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = name

    def attempt_started(self, number: int) -> None:
        self._run.board.attempt_started(self._name, number, workflow.now())
        self._run.changed()

    def adopted(self, ref: EngineRunRef) -> None:
        self._run.board.adopted(self._name, ref)
        self._run.changed()

    def says(self, message: str) -> None:
        self._run.board.waiting(self._name, message)
        self._run.changed()

    def note(self, text: str) -> None:
        self._run.board.tell(self._name, note=text)
        self._run.changed()

    async def told(self) -> None:
        await self._run.told()


class StepRun:
    """Runs one step and keeps the board up to date."""

    def __init__(self, name: str, run: Run) -> None:
        self._name = name
        self._run = run
        self._step = run.start.definition.step(name)

    async def run(self) -> None:
        """Bring the step to an end; its failure is a state on the board, not an exception.

        Raises:
            asyncio.CancelledError: the meta-run was cancelled; the step's engine run has ended.
        """
        if (reused := self._run.start.reuse.get(self._name)) is not None:
            outcome = reused.outcome.model_copy(update={"taken_from": reused.taken_from})
            self._end(End(StepState.SUCCEEDED, "", outcome))
            return
        try:
            resolved = await self._resolve()
        except ActivityError as error:
            if is_cancelled_exception(error):
                self._end(End(StepState.CANCELLED, "cancelled before it started"))
                raise asyncio.CancelledError from error
            self._end(End(StepState.FAILED, message_of(error)))
            return
        if resolved.skip_reason:
            self._end(End(StepState.SKIPPED, resolved.skip_reason))
            return
        timeout = self._step.timeout
        named = self._run.start.named_timers
        try:
            end = await calls.limited(timeout, self._do(resolved), f"Time-out of {self._name}", named=named)
        except TimeoutError:
            assert timeout is not None
            end = End(StepState.TIMED_OUT, f"not done within its timeout of {format_duration(timeout)}")
        except asyncio.CancelledError:
            self._end(End(StepState.CANCELLED, "cancelled"))
            raise
        self._end(end)

    async def _do(self, resolved: ResolvedStep) -> End:
        job = Job(self._run.origin, self._name, self._step, resolved)
        return await do_cached(job, OnBoard(self._run, self._name))

    async def _resolve(self) -> ResolvedStep:
        return await calls.resolve(
            ResolveStep(
                meta_run=self._run.id,
                definition=self._run.start.definition,
                step=self._name,
                inputs=self._run.start.inputs,
                steps=self._run.board.views(),
            )
        )

    def _end(self, end: End) -> None:
        self._run.board.ended(self._name, end.state, workflow.now(), end.message, end.outcome)
        self._run.changed()
