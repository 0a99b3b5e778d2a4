"""The Temporal workflow that keeps a chain alive.

It decides and remembers; whatever touches the world is an activity (`workflows.calls`). Every step is a coroutine that
waits for the steps it depends on, so independent steps run side by side (`workflows.order`). What follows when they
have ended is in `workflows.ending`.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from workflows import calls
from workflows.approvals import DECIDE, refuse
from workflows.board import Board
from workflows.decisions import Decide, Decided, Inbox
from workflows.details import Details
from workflows.ending import Ending, Verdict
from workflows.errors import MetaError
from workflows.messages import WORKFLOW_TYPE, ErrorDetail, ResolveOutputs, RunSnapshot, StartRun, StepSnapshot
from workflows.news import News
from workflows.order import run_in_order
from workflows.outcome import RunState
from workflows.plan import make_plan
from workflows.queries import PlanView, TraceView, plan_view, trace_view
from workflows.search import FAILED_STEP_KEY, STATUS_KEY, WORKFLOW_KEY, updates
from workflows.spec.durations import format_duration
from workflows.step_run import Run, StepRun

RUN_FAILED = "META_RUN_FAILED"
"""Type of the ApplicationError that ends a failed meta-run; its detail is an `ErrorDetail` with the snapshot."""


@workflow.defn(name=WORKFLOW_TYPE)
class MetaRun:
    """One execution of a meta-workflow. Its id is the Temporal workflow id."""

    @workflow.init
    def __init__(self, start: StartRun) -> None:
        info = workflow.info()
        self._start = start
        self._board = Board(info.workflow_id, info.first_execution_run_id, start, workflow.now())
        self._cut = "cancelled"
        self._over: tuple[list[StepSnapshot], list[str]] = ([], [])  # what had failed and what ran at the time-out
        self._details = Details()
        self._news = News(self._board)
        approvals = {name: step for name, step in start.definition.everything().items() if step.approval is not None}
        self._inbox = Inbox(approvals)
        self._run = Run(
            info.workflow_id, start, self._board, self._show, self._news.told, self._inbox, cut=lambda: self._cut
        )

    @workflow.run
    async def run(self, start: StartRun) -> RunSnapshot:
        """Run every step that is to run, and what follows their end.

        Returns:
            The last snapshot, when all steps succeeded or were skipped.

        Raises:
            ApplicationError: of type `RUN_FAILED`, with the first failed step's message.
            asyncio.CancelledError: cancelled, every engine run has ended, and what was to be taken back is.
        """
        if WORKFLOW_KEY not in workflow.info().typed_search_attributes:
            workflow.upsert_search_attributes(updates(start))
        self._show()
        judged = await self._judge()
        self._blame(judged)
        end = await Ending(self._run).follow(judged)
        if end.failed_step != judged.failed_step:
            self._blame(end)
        await self._finish(end)
        if end.state is RunState.CANCELED:
            raise asyncio.CancelledError
        if end.state is RunState.FAILED:
            raise self._error(end.message)
        return self._board.snapshot()

    @workflow.query(description="The run as it is now: its steps, their states, outputs and engine runs")
    def state(self) -> RunSnapshot:
        """The run as it is now."""
        return self._board.snapshot()

    @workflow.update(name=DECIDE, description="Approve or reject what a step asks: step, approve, by, reason, digest")
    def decide(self, message: Decide) -> Decided:
        """Decide an approval; the same decision again is fine."""
        try:
            return self._inbox.take(message, workflow.now())
        except MetaError as error:  # what was right when it was checked can have become wrong since
            refuse(error)

    @decide.validator
    def check_decision(self, message: Decide) -> None:
        """Refuse what cannot be decided; that leaves no trace in the history."""
        try:
            self._inbox.check(message)
        except MetaError as error:
            refuse(error)

    @workflow.signal(name=DECIDE, description="The same for the Web UI; why one is refused stands at the step")
    def decide_by_signal(self, message: Decide) -> None:
        """Decide an approval; a signal has no answer, so a refusal is told where people look."""
        try:
            self._inbox.take(message, workflow.now())
        except MetaError as error:
            workflow.logger.warning("a decision was refused: %s", error)
            for step in self._inbox.waiting:
                self._board.waiting(step, f"a decision by {message.by or 'nobody'} was refused: {error.message}")
            self._show()

    @workflow.query(description="The steps in order: what each runs on which engine, after which others, and reads")
    def plan(self) -> PlanView:
        """The steps and what they depend on."""
        return plan_view(self._start.definition)

    @workflow.query(description="The run's trace: its id, and the spans of the run, its steps and their attempts")
    def trace(self) -> TraceView:
        """Where the run is in its trace."""
        return trace_view(self._board.snapshot())

    async def _judge(self) -> Verdict:
        """Run the steps, and say how the run ends if nothing follows."""
        try:
            await self._steps()
            if self._board.failed_steps():
                return self._failed()
            self._board.set_outputs(await self._outputs())
            return Verdict(RunState.SUCCEEDED)
        except TimeoutError:
            return self._timed_out()
        except asyncio.CancelledError:
            return Verdict(RunState.CANCELED, workflow.cancellation_reason() or "")
        except ActivityError as error:
            if is_cancelled_exception(error):
                return Verdict(RunState.CANCELED, workflow.cancellation_reason() or "")
            cause = error.cause
            message = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
            return Verdict(RunState.FAILED, message, "outputs")

    async def _steps(self) -> None:
        """Run the steps, within the run's time if it has a limit.

        Raises:
            TimeoutError, asyncio.CancelledError: the steps have ended.
        """
        work = run_in_order(make_plan(self._start.definition).steps, lambda name: StepRun(name, self._run).run())
        timeout = self._start.definition.timeout
        if timeout is None:
            await work
            return

        def over() -> None:
            self._over = (self._board.failed_steps(), self._board.running())
            self._cut = f"the run's timeout of {format_duration(timeout)} was over"

        await calls.within(timeout, work, "Time-out of the run", over)

    def _failed(self) -> Verdict:
        """With the first failed step's message."""
        first, *others = self._board.failed_steps()
        more = f" (also failed: {', '.join(s.name for s in others)})" if others else ""
        return Verdict(RunState.FAILED, f"step {first.name} {first.state.value}: {first.message}{more}", first.name)

    def _timed_out(self) -> Verdict:
        timeout = self._start.definition.timeout
        assert timeout is not None
        failed, cut = self._over
        message = f"not done within the run's timeout of {format_duration(timeout)}"
        message += f"; ended: {', '.join(cut)}" if cut else ""
        if failed:
            message += f"\nstep {failed[0].name} {failed[0].state.value}: {failed[0].message}"
        return Verdict(RunState.FAILED, message, next(iter([*(step.name for step in failed), *cut]), "timeout"))

    async def _outputs(self) -> dict[str, object]:
        if not self._start.definition.outputs:
            return {}
        outputs = await calls.resolve_outputs(
            ResolveOutputs(
                meta_run=workflow.info().workflow_id,
                definition=self._start.definition,
                inputs=self._start.inputs,
                steps=self._board.views(),
            )
        )
        return dict(outputs)

    def _blame(self, verdict: Verdict) -> None:
        if verdict.state is RunState.FAILED:
            workflow.upsert_search_attributes([FAILED_STEP_KEY.value_set(verdict.failed_step)])

    def _error(self, message: str) -> ApplicationError:
        value = self._board.snapshot().model_dump(mode="json", exclude_none=True)
        detail = ErrorDetail(code=RUN_FAILED, message=message, value=value)
        return ApplicationError(message, detail, type=RUN_FAILED, non_retryable=True)

    async def _finish(self, end: Verdict) -> None:
        self._board.finish(end.state, workflow.now(), end.message)
        workflow.upsert_search_attributes([STATUS_KEY.value_set(end.state.value)])
        self._show()
        # A cancellation comes too late now: the run has ended, and says so in one way everywhere.
        await calls.undisturbed(self._news.last())

    def _show(self) -> None:
        workflow.set_current_details(self._details.draw(self._board.snapshot()))
        self._news.look()
