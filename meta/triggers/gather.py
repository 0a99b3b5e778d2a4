"""Many messages, one run: `batch` and `debounce`.

A message is written down before it waits, and put into a batch in one transaction. From then on its batch is the same
for ever, so whoever starts the batch, and however often, asks Temporal for the same run. The messages stay
unacknowledged until it has started; the rows alone are enough to start it when the messages are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from meta.api.starter import Started
from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.store.gathering import Held, NewBatch
from meta.triggers.asking import ask
from meta.triggers.batches import due, new_batch, rule_of, split
from meta.triggers.event import Event
from meta.triggers.holding import Holder
from meta.triggers.intake import Intake, record_of
from meta.triggers.kept import became, event_of
from meta.triggers.waiters import Answer, Waiters
from workflows.errors import MetaError
from workflows.spec.trigger_models import NatsTrigger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a gatherer looks, and how long it waits, in seconds.

    Attributes:
        poll: while messages wait here: whether another service has started them, or completed their batch.
        idle: while none does: whether a service that died left messages behind.
        claim: a batch that nobody has seen to for so long is taken over.
        backoff: before a start that failed is tried again, twice as long each time up to `longest`.
        together: so many batches are started at a time.
    """

    poll: float = 0.5
    idle: float = 5.0
    claim: float = 6.0
    backoff: float = 1.0
    longest: float = 30.0
    together: int = 8


def utc_now() -> datetime:
    return datetime.now(UTC)


class Gatherer:
    """Gathers the messages of one trigger. Any number of services do so at once, over one store."""

    def __init__(
        self,
        intake: Intake,
        store: Store,
        workflow: str,
        trigger: NatsTrigger,
        *,
        clock: Callable[[], datetime] = utc_now,
        pace: Pace | None = None,
    ) -> None:
        """Set up.

        Args:
            intake: starts the runs, as the trigger's limits allow.
            store: holds the messages.
            workflow: whose trigger it is.
            trigger: of its newest version; what an earlier one gathered goes on under this one.
            clock: the machine's. Where services share a store, their machines' clocks should agree: a difference
                makes batches close so much earlier or later.
            pace: how often to look.
        """
        self._intake, self._store, self._rows = intake, store, store.gathering
        self._workflow, self._trigger = workflow, trigger
        self._rule = rule_of(trigger)
        self._clock = clock
        self._pace = pace or Pace()
        self._stamped = datetime.min.replace(tzinfo=UTC)
        self._holder = Holder(self._rows)
        self._waiters = Waiters()
        self._wake = asyncio.Event()
        self._open = 0  # messages that waited in no batch at the last look
        self._arrived = 0  # here, since then
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(self._pace.together)

    async def begin(self, event: Event) -> Started:
        """Hold a message until the run that it belongs to has started.

        May be called for the same message again and at once. Cancelled, it leaves the message held: the run starts
        with it nevertheless.

        Returns:
            The run of its batch.

        Raises:
            Conflict: a message with this identity came before, with other data.
            MetaError: not retryable: its batch can never start; written down for all its messages.
            ServiceUnavailable: the store did not take the message.
        """
        at = self._stamped = max(self._clock(), self._stamped + timedelta(microseconds=1))
        record = replace(record_of(event, self._workflow, self._trigger.key), outcome="held", data=event.raw)
        row = await self._holder.hold(record, at)
        if (settled := became(row, event)) is not None:
            return settled
        async with self._waiters.waiting(row.id) as future:
            self._arrived += 1
            known = self._open + self._arrived
            if known == 1 or known >= self._rule.most or len(self._waiters.of) == 1:
                self._wake.set()  # others are seen at the next look
            answer = await future
        if isinstance(answer, MetaError):
            raise answer.with_traceback(None)  # all of its batch share it
        return answer

    async def run(self) -> None:
        """Close batches and start them, until cancelled."""
        failures = 0
        try:
            while True:
                self._wake.clear()
                try:
                    pause = await self._look()
                    failures = 0
                except Exception as error:  # also a fault of ours: what is held must be looked at again; the log has it
                    failures += 1
                    pause = self._pause_after(failures)
                    self._tell_failure("look at what is held", error, pause)
                    await asyncio.sleep(pause)
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            starting = list(self._starting.values())
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self._holder.close()

    async def _look(self) -> float:
        """Do what is to be done now; returns the seconds until the next look."""
        waiters, self._arrived = set(self._waiters.of), 0
        held = await self._rows.held(self._workflow, self._trigger.key)
        now = self._clock()
        open_ = [message for message in held if not message.batch]
        complete, rest = split(open_, self._rule, now)
        if complete:
            for batch in await self._rows.assign(self._workflow, self._trigger.key, self._choose, now):
                self._see_to(batch)
            rest = ()
        await self._take_over([message for message in held if message.batch], now)
        await self._ask_after(waiters - {message.id for message in held})
        self._open = len(rest)
        if complete:
            return 0.0
        pauses = [self._pace.poll if self._waiters.of or held else self._pace.idle]
        if rest:
            pauses.append((due(rest, self._rule) - now).total_seconds())
        return max(0.0, min(pauses))

    def _choose(self, waiting: Sequence[Held]) -> list[NewBatch]:
        complete, _ = split(waiting, self._rule, self._clock())
        return [new_batch(self._workflow, self._trigger.key, members) for members in complete]

    async def _take_over(self, assigned: Sequence[Held], now: datetime) -> None:
        """See to batches that those who made them do not see to any more."""
        silent = now - timedelta(seconds=self._pace.claim)
        for batch in dict.fromkeys(m.batch for m in assigned if m.seen_at <= silent):
            if batch not in self._starting and await self._rows.claim(self._workflow, batch, now, silent):
                self._see_to(batch)

    async def _ask_after(self, gone: Collection[str]) -> None:
        """Tell those who wait for messages that are held no more what became of them."""
        if not gone:
            return
        for row in await self._rows.find(gone):
            try:
                answer = became(row)
            except MetaError as error:
                answer = error
            if answer is not None:
                self._waiters.tell(row.id, answer)

    def _see_to(self, batch: str) -> None:
        task = asyncio.create_task(self._start_until_done(batch), name=f"start {batch}")
        self._starting[batch] = task
        task.add_done_callback(lambda _: self._starting.pop(batch, None))

    async def _start_until_done(self, batch: str) -> None:
        failures = 0
        async with self._claimed(batch):
            while True:
                try:
                    async with self._turns:
                        await self._start(batch)
                    return
                except Exception as error:  # also a fault of ours: what is held must be looked at again; the log has it
                    failures += 1
                    pause = self._pause_after(failures)
                    self._tell_failure(f"start {batch}", error, pause)
                await asyncio.sleep(pause)

    async def _start(self, batch: str) -> None:
        """Start the run of a batch, or learn that it has started, or that it never can."""
        known = await self._store.runs.requested(self._workflow, batch)
        if known is not None:  # by one who died before it could say so; the trigger may have changed since
            await self._rows.started(self._workflow, batch, known.run_id, self._clock())
            self._wake.set()
            return
        members = await self._rows.members(self._workflow, batch)
        if not members:
            self._wake.set()  # another service was faster
            return
        try:
            events = [event_of(row) for row in members]
            started = await self._intake.start(ask(self._workflow, self._trigger, events, batch), events)
        except MetaError as error:
            if error.retryable:
                raise
            log.warning("%d messages for %s start no run: %s", len(members), self._workflow, error)
            await self._rows.bury(self._workflow, batch, error, self._clock())
            self._tell(members, error)
        else:
            self._tell(members, started)

    def _tell(self, members: Sequence[TriggerEventRow], answer: Answer) -> None:
        for row in members:
            self._waiters.tell(row.id, answer)

    @asynccontextmanager
    async def _claimed(self, batch: str) -> AsyncGenerator[None]:
        """Keep others from seeing to the batch."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._pace.claim / 3)
                with suppress(MetaError):
                    await self._rows.renew(self._workflow, batch, self._clock())

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _pause_after(self, failures: int) -> float:
        return min(self._pace.longest, self._pace.backoff * 2.0 ** min(failures - 1, 20))

    def _tell_failure(self, what: str, error: Exception, pause: float) -> None:
        expected = isinstance(error, MetaError)
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s of %s: could not %s: %s; trying again in %.1f s",
            self._trigger.key, self._workflow, what, error, pause,
            exc_info=None if expected else error,
        )  # fmt: skip
