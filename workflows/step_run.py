"""One step of a running meta-run: whether it runs and with what, then the doing, then its end on the board."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import calls
from workflows.approvals import asked_of, decided, waiting_words
from workflows.board import Board
from workflows.caching import do_cached
from workflows.decisions import Inbox
from workflows.fanout import Budget, Fanout
from workflows.fanout_messages import Shared
from workflows.messages import ItemCounts, Origin, ResolvedStep, ResolveStep, StartRun, StepOutcome
from workflows.outcome import EngineRunRef, StepState
from workflows.spec.durations import format_duration
from workflows.spec.sources import ApprovalSource
from workflows.spec.steps import Foreach
from workflows.trying import message_of
from workflows.values import JsonObject, JsonValue
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
        inbox: where decisions on approvals come.
        cut: why steps are ended before their end, for people.
        budget: of its fan-outs.
    """

    id: str
    start: StartRun
    board: Board
    changed: Callable[[], None]
    told: Callable[[], Awaitable[None]]
    inbox: Inbox
    cut: Callable[[], str] = lambda: "cancelled"
    budget: Budget = field(default_factory=Budget)

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
            depth=start.depth,
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

    def child(self, run_id: str) -> None:
        self._run.board.tell(self._name, child=run_id)
        self._run.changed()

    def note(self, text: str) -> None:
        self._run.board.tell(self._name, note=text)
        self._run.changed()

    async def told(self) -> None:
        await self._run.told()


class StepRun:
    """Runs one step and keeps the board up to date.

    Args:
        name: of a step, a step of `finally`, or a compensation.
        run: whose.
        outcome: how the run ended, for what follows its end.
    """

    def __init__(self, name: str, run: Run, outcome: JsonObject | None = None) -> None:
        self._outcome = outcome
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
                self._end(End(StepState.CANCELLED, f"{self._run.cut()} before it started"), cut=True)
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
            self._end(End(StepState.CANCELLED, self._run.cut()), cut=True)
            raise
        self._end(end)

    async def _do(self, resolved: ResolvedStep) -> End:
        if self._step.approval is not None:
            return await self._approval(self._step.approval, resolved)
        if self._step.foreach is not None and resolved.items is not None:
            return await self._fan_out(self._step.foreach, resolved, resolved.items)
        job = Job(self._run.origin, self._name, self._step, resolved)
        return await do_cached(job, OnBoard(self._run, self._name))

    async def _approval(self, source: ApprovalSource, resolved: ResolvedStep) -> End:
        asked = asked_of(source, resolved)
        self._run.board.tell(self._name, asked=asked)
        progress = OnBoard(self._run, self._name)
        progress.attempt_started(1)
        progress.says(waiting_words(asked))
        return await decided(self._name, asked, self._run.inbox, source.timeout)

    async def _fan_out(self, foreach: Foreach, resolved: ResolvedStep, items: list[JsonValue]) -> End:
        board, name = self._run.board, self._name
        board.attempt_started(name, 1, workflow.now())
        self._counted(ItemCounts(total=len(items)))
        await self._run.told()
        if not items:
            return End(StepState.SUCCEEDED, "", StepOutcome(outputs={output: [] for output in self._step.outputs}))
        worked_out: dict[str, object] = {"parameters": {}, "artifacts": {}, "when": None, "foreach": None}
        worked_out |= {"needs": [], "compensate": None}
        shared = Shared(
            origin=self._run.origin,
            name=name,
            step=self._step.model_copy(update=worked_out),
            total=len(items),
            values=resolved.variables,
            stored={step: view for step, view in board.views().items() if view.stored},
        )
        fanout = Fanout(
            shared,
            items,
            parallelism=foreach.parallelism,
            fail_fast=foreach.fail_fast,
            budget=self._run.budget,
            counted=self._counted,
            told=self._run.told,
        )
        return await fanout.run()

    def _counted(self, items: ItemCounts) -> None:
        self._run.board.tell(self._name, items=items)
        self._run.changed()

    async def _resolve(self) -> ResolvedStep:
        return await calls.resolve(
            ResolveStep(
                meta_run=self._run.id,
                definition=self._run.start.definition,
                step=self._name,
                inputs=self._run.start.inputs,
                steps=self._run.board.views(),
                outcome=self._outcome,
            )
        )

    def _end(self, end: End, *, cut: bool = False) -> None:
        self._run.board.ended(self._name, end.state, workflow.now(), end.message, end.outcome)
        if not cut and self._step.goes_on_after(end.state):
            self._run.board.continued(self._name)
        self._run.changed()
