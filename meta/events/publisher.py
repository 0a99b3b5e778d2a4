"""Publishes the outbox to JetStream: at least once, in order for each run, different runs side by side.

One service at a time does so, by a lease. Should a stalled holder wake up after another has taken over, no order is
lost in the stream: both send a run's events one after the other, and JetStream drops what it has by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from meta.config import NatsConfig
from meta.events import metrics
from meta.events.metrics import Failure
from meta.events.sending import Sender, Sent
from meta.events.stream import ensure_stream
from meta.nats import connect, describe
from meta.nats_login import shown
from meta.store import Store
from meta.store.event_tables import OutboxRow
from workflows.errors import ServiceUnavailable

log = logging.getLogger(__name__)

LEASE = "outbox/publisher"
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes and seconds of the publisher.

    Attributes:
        poll: between two looks at the outbox, when nothing is to be done.
        batch: events of one look.
        runs: whose events are sent side by side.
        paused: runs that may wait for another try before nobody's events are tried.
        linger: how long the runs of a look are waited for before those that are done are written down.
        ack: how long JetStream may take to acknowledge.
        first_pause: before a failed run is tried again; it doubles.
        longest_pause: the end of that.
        lease: after which another service takes over from a holder that says nothing.
        ask: between two tries to take the lease.
        clear: between two rounds of clearing.
        unconnected: between two tries to connect.
    """

    poll: float = 0.2
    batch: int = 1000
    runs: int = 256
    paused: int = 500
    linger: float = 0.02
    ack: float = 3.0
    first_pause: float = 0.25
    longest_pause: float = 15.0
    lease: float = 5.0
    ask: float = 1.0
    clear: float = 3600.0
    unconnected: float = 1.0


@dataclass(slots=True)
class _Trouble:
    """A run whose next event was not taken. `until`: by the monotonic clock."""

    tries: int
    until: float


class Publisher:
    """Background job of the service."""

    def __init__(self, config: NatsConfig, store: Store, pace: Pace | None = None) -> None:
        self._config = config
        self._store = store
        self._pace = pace or Pace()
        self._token = uuid.uuid4().hex
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._held_until = 0.0
        self._ask_at = 0.0
        self._clear_at = time.monotonic() + 60.0
        self._sending: dict[str, asyncio.Task[Sent]] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._stream_missing = True
        self._told = ""

    async def run(self) -> None:
        """Publish until cancelled; NATS may come and go, and may throw us out."""
        while True:
            try:
                client = await connect(self._config, "meta-events", self._tell)
            except (NatsError, OSError, TimeoutError) as error:
                await self._tell(error)
                await asyncio.sleep(self._pace.unconnected)
                continue
            try:
                await self._session(client)
            finally:
                try:
                    await self._leave()
                finally:
                    await client.close()

    async def _tell(self, error: Exception) -> None:
        text = describe(error)
        if text != self._told:  # a connection that cannot be made is tried again and again
            log.warning("NATS at %s: %s; events wait in the store", shown(self._config), text)
        self._told = text

    async def _session(self, client: Client) -> None:
        js = client.jetstream(timeout=self._pace.ack)
        sender = Sender(client, js, self._holds)
        reconnects = client.stats["reconnects"]
        while not client.is_closed:
            begun = 0
            try:
                if not client.is_connected:
                    await self._drop()
                elif client.stats["reconnects"] != reconnects:
                    reconnects, self._told = client.stats["reconnects"], ""
                    self._troubles.clear()
                    self._stream_missing = True
                await self._harvest()
                if client.is_connected:
                    begun = await self._begin(sender, js)
                await self._keep_house()
            except ServiceUnavailable as error:
                log.warning("events are not sent now: %s", error)
                await asyncio.sleep(self._pace.ask)
            if begun:
                await asyncio.wait(self._sending.values(), timeout=self._pace.linger)
            else:
                await self._idle()

    async def _idle(self) -> None:
        """Until this process has written an event, a run's sending has ended, or it is time to look again."""
        added = asyncio.create_task(self._store.outbox.added.wait())
        try:
            await asyncio.wait(
                [added, *self._sending.values()], timeout=self._pace.poll, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            added.cancel()
        self._store.outbox.added.clear()

    async def _begin(self, sender: Sender, js: JetStreamContext) -> int:
        """Start to send what there is; returns for how many runs."""
        if self._sending and not await self._take():
            return 0
        now = time.monotonic()
        paused = [run for run, trouble in self._troubles.items() if trouble.until > now]
        if len(paused) > self._pace.paused or len(self._sending) >= self._pace.runs:
            return 0
        rows = await self._store.outbox.unsent(self._pace.batch, [*self._sending, *paused])
        if not rows or not await self._take():
            return 0
        if self._stream_missing:
            await self._ensure_stream(js)
        runs: dict[str, list[OutboxRow]] = {}
        for row in rows:
            runs.setdefault(row.run_id, []).append(row)
        chosen = list(runs)[: self._pace.runs - len(self._sending)]
        replies = await self._store.outbox.replies(chosen)
        for run in chosen:
            tries = self._troubles[run].tries if run in self._troubles else 0
            self._sending[run] = asyncio.create_task(sender.send(runs[run], replies.get(run, []), tries))
        return len(chosen)

    async def _harvest(self) -> None:
        """Write down what was sent. Until then the run is not read again: its events would go out twice."""
        done = {run: task for run, task in self._sending.items() if task.done()}
        results = {run: task.result() for run, task in done.items() if not task.cancelled() and not task.exception()}
        seqs = [seq for sent in results.values() for seq in sent.seqs]
        if seqs:
            await self._store.outbox.mark_sent(seqs)
            metrics.published(len(seqs))
        for run, task in done.items():
            del self._sending[run]
            if (sent := results.get(run)) is None:
                self._trouble(run, None if task.cancelled() else task.exception(), 0)
            else:
                self._stream_missing |= sent.stream_missing
                self._trouble(run, sent.failure, len(sent.seqs))

    def _trouble(self, run: str, failure: BaseException | None, sent: int) -> None:
        """Let a run wait before its next event is tried again, each time longer; or forget that it had to."""
        before = self._troubles.pop(run, None)
        if failure is None:
            return
        tries = (before.tries if before is not None and not sent else 0) + 1
        pause = min(self._pace.first_pause * 2 ** min(tries - 1, 16), self._pace.longest_pause)
        self._troubles[run] = _Trouble(tries, time.monotonic() + pause)
        unanswered = isinstance(failure, TimeoutError)
        metrics.failed(Failure.UNANSWERED if unanswered else Failure.REFUSED)
        if tries & (tries - 1) == 0:  # the 1st, 2nd, 4th, 8th time
            log.warning("events of run %s wait in the store, try %d: %r", run, tries, failure)

    async def _ensure_stream(self, js: JetStreamContext) -> None:
        try:
            await ensure_stream(js, self._config)
            self._stream_missing = False
        except (NatsError, OSError, TimeoutError) as error:  # there may be one that we are not to look at
            log.warning("the stream of events cannot be looked at or made: %r", error)

    def _holds(self) -> bool:
        return time.monotonic() < self._held_until

    async def _take(self) -> bool:
        """Whether the lease is ours; taken, or made longer, when it is time."""
        now = time.monotonic()
        if now >= self._ask_at:
            lease = await self._store.leases.take(LEASE, self._token, self._holder, self._pace.lease)
            self._held_until = now + self._pace.lease if lease.token == self._token else 0.0
            self._ask_at = now + min(self._pace.ask, self._pace.lease / 4)
        return self._holds()

    async def _keep_house(self) -> None:
        now = time.monotonic()
        if now >= self._clear_at:
            self._clear_at = now + self._pace.clear
            if deleted := await self._store.outbox.clear(KEPT):
                log.info("cleared %d events that were sent more than a day ago", deleted)

    async def _drop(self) -> None:
        """Give up what is in flight: its acknowledgements went with the connection."""
        await _end(list(self._sending.values()))

    async def _leave(self) -> None:
        """Write down what was sent, and let another take over at once."""
        await _end(list(self._sending.values()))
        with contextlib.suppress(ServiceUnavailable):
            await self._harvest()
            await self._store.leases.release(LEASE, self._token)
        self._sending.clear()
        self._troubles.clear()
        self._held_until = self._ask_at = 0.0


async def _end(tasks: Sequence[asyncio.Task[Sent]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
