"""The Temporal workflow that keeps a chain alive.

It decides and remembers; whatever touches the world is an activity (`workflows.calls`). Every step is a coroutine that
waits for the steps it depends on, so independent steps run side by side.
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
from workflows.errors import MetaError
from workflows.messages import WORKFLOW_TYPE, ErrorDetail, ResolveOutputs, RunSnapshot, StartRun
from workflows.news import News
from workflows.outcome import RunState
from workflows.plan import make_plan
from workflows.queries import PlanView, TraceView, plan_view, trace_view
from workflows.search import FAILED_STEP_KEY, STATUS_KEY, WORKFLOW_KEY, updates
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
        self._ended: dict[str, asyncio.Event] = {name: asyncio.Event() for name in start.definition.steps}
        self._details = Details()
        self._news = News(self._board)
        approvals = {name: step for name, step in start.definition.everything().items() if step.approval is not None}
        self._inbox = Inbox(approvals)
        self._run = Run(info.workflow_id, start, self._board, self._show, self._news.told, self._inbox)

    @workflow.run
    async def run(self, start: StartRun) -> RunSnapshot:
        """Run every step that is to run.

        Returns:
            The last snapshot, when all steps succeeded or were skipped.

        Raises:
            ApplicationError: of type `RUN_FAILED`, with the first failed step's message.
            asyncio.CancelledError: cancelled, and every engine run has ended.
        """
        if WORKFLOW_KEY not in workflow.info().typed_search_attributes:
            workflow.upsert_search_attributes(updates(start))
        self._show()
        try:
            await self._steps()
            await self._conclude()
        except asyncio.CancelledError:
            await self._finish(RunState.CANCELED, workflow.cancellation_reason() or "")
            raise
        except ActivityError as error:
            if is_cancelled_exception(error):
                await self._finish(RunState.CANCELED, workflow.cancellation_reason() or "")
                raise
            cause = error.cause
            await self._fail(cause.message if isinstance(cause, ApplicationError) else str(cause), "outputs")
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

    async def _steps(self) -> None:
        plan = make_plan(self._start.definition)
        tasks = [
            asyncio.create_task(self._step(planned.name, planned.dependencies), name=planned.name)
            for planned in plan.steps
        ]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            # gather passed the cancellation on; every step ends its engine run before it ends itself.
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _step(self, name: str, dependencies: tuple[str, ...]) -> None:
        for dependency in dependencies:
            await self._ended[dependency].wait()
        await StepRun(name, self._run).run()
        self._ended[name].set()

    async def _conclude(self) -> None:
        """All steps have ended: the run fails with the first failed one's message, or has its outputs."""
        failed = self._board.failed_steps()
        if failed:
            first, *others = failed
            more = f" (also failed: {', '.join(s.name for s in others)})" if others else ""
            await self._fail(f"step {first.name} {first.state.value}: {first.message}{more}", first.name)
        self._board.set_outputs(await self._outputs())
        await self._finish(RunState.SUCCEEDED)

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

    async def _fail(self, message: str, step: str) -> None:
        workflow.upsert_search_attributes([FAILED_STEP_KEY.value_set(step)])
        await self._finish(RunState.FAILED, message)
        detail = ErrorDetail(
            code=RUN_FAILED, message=message, value=self._board.snapshot().model_dump(mode="json", exclude_none=True)
        )
        raise ApplicationError(message, detail, type=RUN_FAILED, non_retryable=True)

    async def _finish(self, state: RunState, message: str = "") -> None:
        self._board.finish(state, workflow.now(), message)
        workflow.upsert_search_attributes([STATUS_KEY.value_set(state.value)])
        self._show()
        try:
            await calls.uninterrupted(self._news.last())
        except asyncio.CancelledError:
            if state is not RunState.CANCELED:  # too late: the run has ended, and says so in one way everywhere
                return
            raise

    def _show(self) -> None:
        workflow.set_current_details(self._details.draw(self._board.snapshot()))
        self._news.look()
