"""Runs items of a fan-out, so many at a time, in whichever workflow they belong to: the run's own, or a chunk's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from workflows import calls
from workflows.caching import do_cached
from workflows.fanout_messages import (
    FailedItem,
    ItemRecord,
    ItemsEnd,
    RecordItems,
    ResolvedItem,
    ResolveItems,
    Shared,
)
from workflows.foreach_items import label
from workflows.item_lists import lists_of
from workflows.messages import ResolvedStep
from workflows.outcome import EngineRunRef, StepState
from workflows.trying import message_of
from workflows.values import JsonValue
from workflows.work import End, Job, Progress

KEPT_FAILURES = 5
"""Failed items whose messages are told with the step's."""

_RESOLVED_AT_ONCE = 50
_RECORDED_AT_ONCE = 100
_MESSAGE = 500  # characters of a failed item's message where several are told


class ItemRuns:
    """Runs items that follow each other.

    Args:
        shared: what they have in common.
        items: what they run over.
        first: `index` of the first.
        parallelism: most at a time.
        fail_fast: after the first that fails none begins, and those that run are ended.
        changed: called when one begins or ends.
        told: waits until the store knows what has ended before.
    """

    def __init__(
        self,
        shared: Shared,
        items: Sequence[JsonValue],
        *,
        first: int,
        parallelism: int,
        fail_fast: bool,
        changed: Callable[[], None],
        told: Callable[[], Awaitable[None]],
    ) -> None:
        self._shared = shared
        self._items = items
        self._first = first
        self._parallelism = parallelism
        self._fail_fast = fail_fast
        self._changed = changed
        self._told = told
        self._next = 0
        self._stopped = False
        self._resolved: dict[int, ResolvedItem] = {}
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._records: dict[int, ItemRecord] = {}
        self._unrecorded: list[ItemRecord] = []
        self._failures: list[FailedItem] = []
        self.running = self.succeeded = self.failed = self.taken = self._nodes = self._cached_nodes = 0

    async def run(self) -> None:
        """Run them until all have ended, or none is to begin any more; what they came to is recorded.

        Raises:
            asyncio.CancelledError: cancelled, and whatever the items had begun has ended.
        """
        count = min(self._parallelism, len(self._items))
        self._tasks = [asyncio.create_task(self._work(), name=f"{self._shared.name}/{n}") for n in range(count)]
        cancelled = await ended(self._tasks, self._stop)
        await calls.uninterrupted(self._record(0))
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if cancelled:
            raise asyncio.CancelledError

    def end(self) -> ItemsEnd:
        """What they came to."""
        return ItemsEnd(
            succeeded=self.succeeded,
            failed=self.failed,
            taken=self.taken,
            nodes=self._nodes,
            cached_nodes=self._cached_nodes,
            failures=self._failures,
            lists=lists_of(self._records, self._first, len(self._items)),
        )

    async def _work(self) -> None:
        while not self._stopped and self._next < len(self._items):
            at = self._next
            self._next += 1
            failed = await self._one(at)
            if failed and self._fail_fast:
                self._stop()
            if len(self._unrecorded) >= _RECORDED_AT_ONCE:
                await self._record(_RECORDED_AT_ONCE)

    def _stop(self) -> None:
        """End what runs, and begin no more."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _one(self, at: int) -> bool:
        """Run one; True when it failed."""
        resolved = await self._resolve(at)
        if self._stopped:
            return False
        progress = _ItemProgress(self._told)
        self.running += 1
        self._changed()
        try:
            end = await self._done(at, resolved, progress)
        except asyncio.CancelledError:
            self._ended(at, End(StepState.CANCELLED, "ended before it was done"), progress.attempt)
            raise
        self._ended(at, end, progress.attempt)
        return end.state is not StepState.SUCCEEDED

    async def _done(self, at: int, resolved: ResolvedItem, progress: Progress) -> End:
        if resolved.fault:
            return End(StepState.FAILED, resolved.fault)
        step = ResolvedStep(
            parameters=resolved.parameters,
            artifacts=resolved.artifacts,
            copies=resolved.copies,
            cache_key=resolved.cache_key,
        )
        shared = self._shared
        return await do_cached(Job(shared.origin, shared.name, shared.step, step, self._first + at + 1), progress)

    async def _resolve(self, at: int) -> ResolvedItem:
        async with self._turn:
            if at not in self._resolved:
                part = list(self._items[at : at + _RESOLVED_AT_ONCE])
                message = ResolveItems(shared=self._shared, first=self._first + at, items=part)
                try:
                    found = (await calls.resolve_items(message)).items
                except ActivityError as error:
                    if is_cancelled_exception(error):
                        raise asyncio.CancelledError from error
                    found = [ResolvedItem(fault=message_of(error))] * len(part)
                self._resolved.update(enumerate(found, at))
            return self._resolved.pop(at)

    def _ended(self, at: int, end: End, attempt: int) -> None:
        self.running -= 1
        outcome, item = end.outcome, self._items[at]
        if end.state is StepState.SUCCEEDED:
            self.succeeded += 1
        elif end.state is not StepState.CANCELLED or not self._stopped:
            self.failed += 1
            if len(self._failures) < KEPT_FAILURES:
                message = end.message[:_MESSAGE]
                failure = FailedItem(index=self._first + at, label=label(item), state=end.state, message=message)
                self._failures.append(failure)
        record = ItemRecord(
            position=self._first + at + 1, state=end.state, attempt=attempt, message=end.message, item=item
        )
        if outcome is not None:
            record = record.model_copy(update={"outputs": outcome.outputs, "artifacts": outcome.artifacts})
            if outcome.taken_from is not None:
                self.taken += 1
                record = record.model_copy(update={"message": outcome.taken_from.words(self._shared.name)})
            self._nodes += outcome.nodes
            self._cached_nodes += outcome.cached_nodes
        self._records[at] = record
        self._unrecorded.append(record)
        self._changed()

    async def _record(self, least: int) -> None:
        """Tell the store of what has ended, if there are so many."""
        while self._unrecorded and len(self._unrecorded) >= least:
            part = self._unrecorded[:_RECORDED_AT_ONCE]
            del self._unrecorded[:_RECORDED_AT_ONCE]
            origin = self._shared.origin
            told = calls.record_items(RecordItems(run=origin.run_id, step=self._shared.name, items=part))
            try:
                await calls.uninterrupted(told)
            except FailureError as error:  # the run goes on without these rows: what they are about is done
                workflow.logger.warning("items of %s were not recorded: %s", self._shared.name, error)


class _ItemProgress(Progress):
    """Of one item nobody looks at more than its attempt; the store hears of its engine runs from activities."""

    def __init__(self, told: Callable[[], Awaitable[None]]) -> None:
        self._told = told
        self.attempt = 0

    def attempt_started(self, number: int) -> None:
        self.attempt = number

    def adopted(self, ref: EngineRunRef) -> None:
        pass

    def says(self, message: str) -> None:
        pass

    def child(self, run_id: str) -> None:
        pass

    async def told(self) -> None:
        await self._told()


async def ended(tasks: Sequence[asyncio.Task[None]], stop: Callable[[], None]) -> bool:
    """Wait until all have ended, however often this is cancelled.

    Args:
        tasks: to wait for.
        stop: called when this is cancelled; lets them end soon.

    Returns:
        Whether this was cancelled.
    """
    cancelled = False
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
            stop()
    return cancelled
