"""A step that runs once for each item: inside the run where its history bears that, else by chunks.

What decides between the two is computed in the workflow, so a change of these numbers needs a patch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from temporalio.exceptions import ChildWorkflowError, TerminatedError, is_cancelled_exception

from workflows import calls
from workflows.fanout_messages import FailedItem, ItemLists, ItemsEnd, Shared, StartChunk
from workflows.item_runs import KEPT_FAILURES, ItemRuns, ended
from workflows.messages import ItemCounts, StepOutcome
from workflows.outcome import StepState
from workflows.values import JsonValue, canonical_json
from workflows.work import End

INLINE_ITEMS = 200
"""Most items of a step inside the run; also the most items of a chunk."""

_PER_ITEM, _PER_ATTEMPT = 12, 25  # events at most: staging and resolving; submit, wait, their tasks, timers, an end
_CHUNK_EVENTS = 40_000  # of Temporal's 51,200
EVENTS_OF_A_CHUNK = 12
"""In the run's own history."""

_BYTES_OF_A_CHUNK = 20 * 1024  # of its result
_CHUNKS_AT_ONCE = 10
_MAX_LISTS = 128 * 1024
_CUT = "were ended or not begun: their workflow was cancelled in Temporal"
_BEGUN = 3  # how often a chunk is begun that somebody terminates
_TOO_MANY = (
    "are more than is left to the fan-outs of one run: its history would have too many events or bytes\n"
    "  let a step of kind workflow run some of them as a meta-run of its own, or let an item stand for a batch"
)


@dataclass(slots=True)
class Budget:
    """What is left to the fan-outs of one run together, so that no limit of Temporal is reached.

    Attributes:
        inline: events of items inside the run. At 37 each it bounds their bytes and pending activities, too.
        events: of chunks; with the rest the history stays below 51,200.
        size: bytes of what chunks are given and give; with the rest it stays below 50 MB.
        lists: bytes of results that travel with the run's state.
        chunks: how many may run at a time, of 2,000 pending children.
    """

    inline: int = 20_000
    events: int = 15_000
    size: int = 12 << 20
    lists: int = 512 * 1024
    chunks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(100))

    def takes_inline(self, items: int, attempts: int) -> bool:
        """Take what so many items need inside the run; False when they have to run by chunks."""
        events = _weight(attempts) * items
        if items > INLINE_ITEMS or events > self.inline:
            return False
        self.inline -= events
        return True

    def takes_chunks(self, chunks: int, size: int = 0) -> bool:
        """Take what so many chunks need of the run's own history; False when there is not so much left.

        Args:
            chunks: how many.
            size: bytes of what they are given.
        """
        events, size = chunks * EVENTS_OF_A_CHUNK, size + chunks * _BYTES_OF_A_CHUNK
        if events > self.events or size > self.size:
            return False
        self.events -= events
        self.size -= size
        return True


def chunk_of(attempts: int) -> int:
    """How many items a chunk has, of which each may be tried so often."""
    return max(1, min(INLINE_ITEMS, _CHUNK_EVENTS // _weight(attempts)))


def chunks_of(items: int, chunk: int) -> int:
    return -(-items // chunk)


def _weight(attempts: int) -> int:
    """Events of an item at most."""
    return _PER_ITEM + _PER_ATTEMPT * attempts


class Fanout:
    """Runs a step's items.

    Args:
        shared: what they have in common.
        items: what they run over; at least one.
        parallelism: most at a time.
        fail_fast: after the first that fails none begins, and those that run are ended.
        budget: of the run.
        counted: told how far it is, after each change.
        told: waits until the store knows what has ended before.
    """

    def __init__(
        self,
        shared: Shared,
        items: list[JsonValue],
        *,
        parallelism: int,
        fail_fast: bool,
        budget: Budget,
        counted: Callable[[ItemCounts], None],
        told: Callable[[], Awaitable[None]],
    ) -> None:
        self._shared = shared
        self._items = items
        self._parallelism = parallelism
        self._fail_fast = fail_fast
        self._budget = budget
        self._counted = counted
        self._told = told
        self._ends: dict[int, ItemsEnd] = {}
        self._running: dict[int, int] = {}
        self._waiting: deque[tuple[int, list[JsonValue]]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    async def run(self) -> End:
        """Bring all to an end.

        Raises:
            asyncio.CancelledError: cancelled, and whatever the items had begun has ended.
        """
        count, attempts = len(self._items), self._shared.step.retry.attempts
        if self._budget.takes_inline(count, attempts):
            await self._inline()
            return self._end()
        size = chunk_of(attempts)
        chunks = chunks_of(count, size)
        given = 2 * len(canonical_json(self._items)) + chunks * len(canonical_json(self._shared.values))
        if not self._budget.takes_chunks(chunks, given):
            return End(StepState.FAILED, f"{count:,} items in {chunks} chunks of {size} {_TOO_MANY}")
        await self._by_chunks(size)
        return self._end()

    async def _inline(self) -> None:
        runs = ItemRuns(
            self._shared,
            self._items,
            first=0,
            parallelism=self._parallelism,
            fail_fast=self._fail_fast,
            changed=lambda: self._counted(
                ItemCounts(
                    total=len(self._items),
                    running=runs.running,
                    succeeded=runs.succeeded,
                    failed=runs.failed,
                    taken=runs.taken,
                )
            ),
            told=self._told,
        )
        try:
            await runs.run()
        except asyncio.CancelledError:
            self._took(0, runs.end())
            raise
        self._took(0, runs.end())

    async def _by_chunks(self, size: int) -> None:
        self._waiting.extend((at, self._items[at : at + size]) for at in range(0, len(self._items), size))
        slots = _shares(self._parallelism, min(len(self._waiting), _CHUNKS_AT_ONCE))
        self._tasks = [asyncio.create_task(self._slot(share), name=f"{self._shared.name}/chunks") for share in slots]
        cancelled = await ended(self._tasks, self._stop)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if cancelled:
            raise asyncio.CancelledError

    async def _slot(self, share: int) -> None:
        """One chunk after another, each with its share of the parallelism."""
        while self._waiting and not self._stopped:
            first, items = self._waiting.popleft()
            async with self._budget.chunks:
                self._running[first] = min(share, len(items))
                self._count()
                try:
                    end = await self._chunk(first, items, share)
                finally:
                    del self._running[first]
            self._took(first, end)
            if end.failed and self._fail_fast:
                self._stop()
            this = asyncio.current_task()
            if this is not None and this.cancelling():  # a chunk that tells how far it came swallows it
                raise asyncio.CancelledError

    async def _chunk(self, first: int, items: list[JsonValue], share: int) -> ItemsEnd:
        """Run one chunk. One that somebody terminates is begun again, and adopts the engine runs that it had."""
        message = StartChunk(
            shared=self._shared, first=first, items=items, parallelism=share, fail_fast=self._fail_fast
        )
        words = ""
        for _ in range(_BEGUN):
            try:
                return await calls.chunk(message)
            except ChildWorkflowError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                words = str(error.cause or error)
                if not isinstance(error.cause, TerminatedError):
                    break
        failure = FailedItem(
            index=first,
            label=f"and the {len(items) - 1} that follow it",
            state=StepState.LOST,
            message=f"the workflow that ran them has ended without a word: {words}",
        )
        return ItemsEnd(failed=len(items), failures=[failure])

    def _stop(self) -> None:
        """End the chunks that run, and begin no more."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _took(self, first: int, end: ItemsEnd) -> None:
        self._ends[first] = end
        self._count()

    def _count(self) -> None:
        self._counted(self.counts())

    def counts(self) -> ItemCounts:
        """How far it is; of a chunk that runs, as many are running as may."""
        return ItemCounts(
            total=len(self._items),
            running=sum(self._running.values()),
            succeeded=sum(end.succeeded for end in self._ends.values()),
            failed=sum(end.failed for end in self._ends.values()),
            taken=sum(end.taken for end in self._ends.values()),
        )

    def _end(self) -> End:
        counts, ends = self.counts(), self._ends.values()
        failures = sorted((f for end in ends for f in end.failures), key=lambda failure: failure.index)
        lists = self._lists()
        outcome = StepOutcome(
            nodes=sum(end.nodes for end in ends),
            cached_nodes=sum(end.cached_nodes for end in ends),
            outputs=dict(lists.outputs) if lists is not None else {},
            artifact_lists=lists.artifacts if lists is not None else {},
            stored=lists is None,
        )
        missing = counts.total - counts.succeeded - counts.failed
        if not failures and missing:
            return End(StepState.CANCELLED, f"{missing} of {counts.total} items {_CUT}", outcome)
        if not failures:
            return End(StepState.SUCCEEDED, "", outcome)
        states = {failure.state for failure in failures}
        state = failures[0].state if len(states) == 1 else StepState.FAILED
        return End(state, _words(counts, failures, fast=self._fail_fast), outcome)

    def _lists(self) -> ItemLists | None:
        """All lists in one piece; None when they are too large to travel with the run."""
        lists = ItemLists(outputs={name: [None] * len(self._items) for name in self._shared.step.outputs})
        for first in sorted(self._ends):
            part = self._ends[first].lists
            if part is None and self._ends[first].succeeded:
                return None
            if part is None:
                continue
            for name, values in part.outputs.items():
                whole = lists.outputs.setdefault(name, [None] * len(self._items))
                whole[first : first + len(values)] = values
            for name, artifacts in part.artifacts.items():
                found = lists.artifacts.setdefault(name, [None] * len(self._items))
                found[first : first + len(artifacts)] = artifacts
        size = len(canonical_json(lists.model_dump(mode="json")))
        if size > min(_MAX_LISTS, self._budget.lists):
            return None
        self._budget.lists -= size
        return lists


def _shares(parallelism: int, chunks: int) -> list[int]:
    """How many items at a time each of the chunks that run side by side may have; together `parallelism`."""
    count = max(1, min(chunks, parallelism))
    each, more = divmod(parallelism, count)
    return [each + (n < more) for n in range(count)]


def _words(counts: ItemCounts, failures: list[FailedItem], *, fast: bool) -> str:
    """What is said of a fan-out that failed; items are counted from 0, as expressions do."""
    told = [f"item {one.index} ({one.label}): {one.message}" for one in failures]
    if fast:
        rest = counts.total - counts.succeeded - counts.failed
        also = f", {counts.failed} failed" if counts.failed > 1 else ""
        done = f"{counts.succeeded} of {counts.total} items had succeeded{also}"
        return f"{told[0]}\n{done}; the other {rest} were ended or not begun"
    more = counts.failed - len(told[:KEPT_FAILURES])
    lines = [f"{counts.failed} of {counts.total} items failed", *told[:KEPT_FAILURES]]
    if more > 0:
        lines.append(f"and {more} more")
    if rest := counts.total - counts.succeeded - counts.failed:
        lines.append(f"{rest} {_CUT}")
    return "\n".join(lines)
