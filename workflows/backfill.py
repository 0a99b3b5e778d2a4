"""The workflow that runs a meta-workflow for every partition of a stretch of time, a few at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

from workflows.child_calls import prepare_partition
from workflows.child_messages import (
    BACKFILL_TYPE,
    BackfillProgress,
    PreparedChild,
    PreparePartition,
    StartBackfill,
)
from workflows.children import run_child
from workflows.markdown import plain
from workflows.messages import ErrorDetail
from workflows.planned import rfc3339
from workflows.trying import message_of

BACKFILL_FAILED = "META_BACKFILL_FAILED"
"""Type of the ApplicationError that ends a backfill of which partitions failed; its detail holds the progress."""

AT_A_TIME = 300
"""Partitions that one execution begins; the next one goes on with a history of its own."""

LOOK_AGAIN = timedelta(seconds=10)
"""Between two looks at a partition that another backfill is at."""

PATIENCE = 6
"""Looks after which a run that was started and that the store does not know counts as lost."""

_KEPT = 20
_WORDS = 600


@workflow.defn(name=BACKFILL_TYPE)
class MetaBackfill:
    """Partitions begin in order. One that fails does not stop the others."""

    @workflow.init
    def __init__(self, start: StartBackfill) -> None:
        self._plan = start.plan
        self._progress = start.progress.model_copy(update={"running": 0})
        self._tasks: dict[int, asyncio.Task[None]] = {}  # in order, so that a replay cancels them in the same
        self._fault: BaseException | None = None
        self._begun = 0

    @workflow.run
    async def run(self, start: StartBackfill) -> BackfillProgress:
        """Run every partition that is not done.

        Raises:
            ApplicationError: of type `BACKFILL_FAILED`, when partitions failed.
            asyncio.CancelledError: cancelled, and every run has ended.
        """
        try:
            while self._progress.next < self._plan.total and not self._is_long():
                await workflow.wait_condition(self._may_begin)
                self._begin(self._progress.next)
            await workflow.wait_condition(lambda: not self._tasks)
        except asyncio.CancelledError:
            await self._end_all()
            raise
        if self._fault is not None:
            raise self._fault
        if self._progress.next < self._plan.total:
            workflow.continue_as_new(StartBackfill(plan=self._plan, progress=self._progress))
        if self._progress.failed:
            words = f"{self._progress.failed} of {self._plan.total} partitions failed"
            value = self._progress.model_dump(mode="json")
            detail = ErrorDetail(code=BACKFILL_FAILED, message=words, value=value)
            raise ApplicationError(words, detail, type=BACKFILL_FAILED, non_retryable=True)
        return self._progress

    @workflow.signal(description="No further partition begins; what runs goes on")
    def pause(self, note: str = "") -> None:
        self._set(paused=True, note=note)

    @workflow.signal(description="Partitions begin again")
    def resume(self, note: str = "") -> None:
        self._set(paused=False, note=note)

    @workflow.query(description="How far it is")
    def progress(self) -> BackfillProgress:
        return self._progress

    def _is_long(self) -> bool:
        return self._begun >= AT_A_TIME or workflow.info().is_continue_as_new_suggested()

    def _begin(self, index: int) -> None:
        self._begun += 1
        self._set(next=index + 1, running=self._progress.running + 1)
        task = asyncio.create_task(self._partition(index), name=f"partition {index}")
        self._tasks[index] = task
        task.add_done_callback(lambda done: self._ended(index, done))

    def _may_begin(self) -> bool:
        return not self._progress.paused and len(self._tasks) < self._plan.parallelism

    def _ended(self, index: int, task: asyncio.Task[None]) -> None:
        del self._tasks[index]
        self._set(running=self._progress.running - 1)
        if not task.cancelled():
            self._fault = self._fault or task.exception()

    async def _partition(self, index: int) -> None:
        try:
            await self._run(index)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            self._failed("", f"{rfc3339(self._plan.partition(index).start)}: {message_of(error)}")

    async def _run(self, index: int) -> None:
        """Wait until nobody else is at the partition, then run it if it is not done."""
        looks = beyond = 0
        while True:
            prepared = await prepare_partition(
                PreparePartition(
                    plan=self._plan,
                    partition=self._plan.partition(index),
                    beyond=beyond,
                )
            )
            if prepared.done_by:
                self._set(done=self._progress.done + 1, skipped=self._progress.skipped + 1)
                return
            if prepared.child is not None:
                if await self._ran(prepared.child):
                    return
                looks += 1
                if looks >= PATIENCE:
                    looks, beyond = 0, prepared.attempt
            await workflow.sleep(LOOK_AGAIN, summary="Wait for whoever is at this partition")

    async def _ran(self, child: PreparedChild) -> bool:
        """Run it to its end; False when somebody else has started it."""
        try:
            await run_child(child)
        except WorkflowAlreadyStartedError:
            return False
        except ChildWorkflowError as error:
            this = asyncio.current_task()
            if is_cancelled_exception(error) and this is not None and this.cancelling():
                raise asyncio.CancelledError from error
            self._failed(child.id, "")
            return True
        self._set(done=self._progress.done + 1)
        return True

    def _failed(self, run_id: str, message: str) -> None:
        known = self._progress
        self._set(
            failed=known.failed + 1,
            failed_runs=[*known.failed_runs, *([run_id] if run_id else [])][:_KEPT],
            messages=[*known.messages, *([message] if message else [])][:_KEPT],
        )

    async def _end_all(self) -> None:
        """Cancel what runs and wait until it has ended, however often this is cancelled meanwhile."""
        for task in list(self._tasks.values()):
            task.cancel()
        while self._tasks:
            try:
                await workflow.wait_condition(lambda: not self._tasks)
            except asyncio.CancelledError:
                continue

    def _set(self, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
        now, plan = self._progress, self._plan
        words = f"{now.done} of {plan.total} partitions done, {now.failed} failed, {now.running} running"
        workflow.set_current_details(plain(words + (f"; paused {now.note}" if now.paused else ""), _WORDS))
