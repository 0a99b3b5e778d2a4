"""Exports traces: the background job of the service that tells a collector of runs, at least once.

What it tells is in the store, and so is what the collector has: nothing is lost when a service dies or the collector is
away, and runs never wait for either. Before spans go out they are written down, so that a repeat has the same ids and
the same content. Several services share the work by claims.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from meta.config import TelemetryConfig
from meta.store import Store
from meta.store.exports import Due, Settled
from meta.telemetry.sending import Answer, Reply, Sender
from meta.telemetry.sinks import OTLP
from meta.telemetry.telling import Telling, pack, ready, telling, unpack
from meta.trace.record import RunRecord
from meta.trace.spans import run_spans
from workflows.errors import NotFound, ServiceUnavailable
from workflows.messages import RunSnapshot
from workflows.trace import is_sampled

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes and seconds of the exporter.

    Attributes:
        poll: between two looks at the store when nothing is to be done; workers write there from other processes.
        linger: what comes within is told together.
        batch: runs of one look.
        most: spans of one look, or those of its first run.
        chunk: spans of one request.
        claim: after which another service tells what one has claimed and not settled.
        again: before a run is looked at again whose engine runs are still to end.
        first_pause: before a collector that is down is tried again; it doubles.
        longest_pause: the end of that.
        denied: before a collector is tried again that takes nothing of us.
        refused: before a run's spans are tried again that the collector does not take.
        drain: how long what is due may take to go out when the service stops.
    """

    poll: float = 0.5
    linger: float = 0.2
    batch: int = 100
    most: int = 10_000
    chunk: int = 512
    claim: float = 10.0
    again: float = 10.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    denied: float = 60.0
    refused: float = 300.0
    drain: float = 3.0


@dataclass(frozen=True, slots=True)
class _Sending:
    """A claimed run, what goes out of it now, and what that comes to."""

    telling: Telling
    settled: Settled


class TraceExporter:
    """Background job of the service.

    Args:
        telemetry: with an endpoint.
        store: opened with the sink `otlp`.
        pace: for tests.

    Raises:
        SettingsInvalid: the file of certificates cannot be read.
    """

    def __init__(self, telemetry: TelemetryConfig, store: Store, pace: Pace | None = None) -> None:
        self._telemetry = telemetry
        self._store = store
        self._exports = store.exports
        self._pace = pace or Pace()
        self._sender = Sender(telemetry)
        self._failures = 0
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            try:
                while await self._round():
                    pass
                pause = 0.0
            except _NotNow as error:
                pause = error.pause
            except ServiceUnavailable as error:
                log.warning("traces are not exported now: %s", error)
                pause = self._pace.first_pause
            if self._stopping.is_set():
                self._drained.set()
            await self._wait(pause)

    async def drain(self) -> None:
        """Let what is due go out, for a moment; the next service tells the rest."""
        self._stopping.set()
        self._exports.added[OTLP].set()
        await _within(self._pace.drain, self._drained)

    async def close(self) -> None:
        """Give up what is being sent; `run` has ended."""
        self._sender.close()

    async def _wait(self, pause: float) -> None:
        """Until there are news, or a pause is over."""
        if pause:
            await _within(pause, self._stopping)
        else:
            await _within(self._pace.poll, self._exports.added[OTLP])
            await _within(self._pace.linger, self._stopping)
            self._exports.added[OTLP].clear()
        if self._drained.is_set():  # to be cancelled in a moment
            await asyncio.sleep(self._pace.poll)

    async def _round(self) -> bool:
        """Tell what is due; whether there was something.

        Raises:
            _NotNow: the collector takes nothing.
            ServiceUnavailable: the store does not answer.
        """
        dues = await self._exports.claim(OTLP, self._pace.batch, self._pace.claim)
        settled, sendings, most = list[Settled](), list[_Sending](), self._pace.most
        runs = await self._store.runs.get_many([due.run_id for due in dues if due.sending is None])
        for number, due in enumerate(dues):
            one = await self._prepared(due, runs[due.run_id][1] if due.run_id in runs else None)
            if isinstance(one, Settled):
                settled.append(one)
                continue
            sendings.append(one)
            most -= len(one.telling.spans)
            if most <= 0:
                await self._exports.release(OTLP, dues[number + 1 :])
                break
        await self._exports.settle_claims(OTLP, settled)
        stand = {due.run_id for due in await self._exports.freeze(OTLP, [one.settled.due for one in sendings])}
        await self._tell([one for one in sendings if one.settled.due.run_id in stand])
        return bool(dues)

    async def _prepared(self, due: Due, run: RunSnapshot | None) -> Settled | _Sending:
        """What is to be told of a run now, or that nothing is."""
        if due.sending is not None:  # somebody was cut off: the same again, and then what is new
            found = unpack(due.sending)
            return _Sending(found, Settled(due, found.told, wait_s=0.0))
        if run is None:
            return Settled(due, ended=True)
        sampled = is_sampled(run.id, run.trace, self._telemetry.sampling)
        if not sampled or not ready(run, due.told, due.over):
            return Settled(due, ended=run.state.ended)
        try:
            record = await self._store.traces.record(run.id)
        except NotFound:
            return Settled(due, ended=True)
        try:
            found, packed = await asyncio.to_thread(_frozen, record, due, self._telemetry.baggage)
        except Exception:  # what is wrong with one run must not hold up the others
            log.exception("the trace of run %s cannot be made", run.id)
            return Settled(due, wait_s=self._pace.refused)
        wait_s = self._pace.again if found.waits else None
        settled = Settled(due, found.told, ended=record.run.state.ended and not found.waits, wait_s=wait_s)
        return _Sending(found, replace(settled, due=replace(due, sending=packed))) if found.spans else settled

    async def _tell(self, sendings: Sequence[_Sending]) -> None:
        reply, left = await self._send(sendings)
        if reply.answer is Answer.REFUSED:  # it may be for one of them alone
            for number, one in enumerate(left):
                if len(left) > 1:
                    reply, _ = await self._send([one])
                if reply.answer is Answer.REFUSED:
                    run_id, pause = one.settled.due.run_id, self._pace.refused
                    log.error("the collector refuses spans of run %s: %s; %s", run_id, reply.reason, reply.hint)
                    await self._exports.release(OTLP, [one.settled.due], pause)
                elif reply.answer is not Answer.TAKEN:
                    left = left[number:]
                    break
        self._note(reply)
        if reply.answer in (Answer.DOWN, Answer.DENIED):
            await self._exports.release(OTLP, [one.settled.due for one in left])
            raise _NotNow(self._pause(reply))

    async def _send(self, sendings: Sequence[_Sending]) -> tuple[Reply, list[_Sending]]:
        """Send, and settle what has arrived. The last answer, and whose spans have not all arrived."""
        reply, arrived = Reply(Answer.TAKEN), 0
        for chunk in _chunks([span for one in sendings for span in one.telling.spans], self._pace.chunk):
            reply = await self._sender.send(chunk)
            if reply.answer is not Answer.TAKEN:
                break
            arrived += len(chunk)
        done, left = list[Settled](), list[_Sending]()
        for one in sendings:
            arrived -= len(one.telling.spans)
            if arrived >= 0:
                done.append(one.settled)
            else:
                left.append(one)
        await self._exports.settle_claims(OTLP, done)
        return reply, left

    def _note(self, reply: Reply) -> None:
        """Count failures, and say so the 1st, 2nd, 4th, 8th time."""
        where = self._telemetry.otlp_endpoint
        if reply.answer in (Answer.TAKEN, Answer.REFUSED):
            if self._failures:
                log.info("the collector at %s answers again", where)
            self._failures = 0
            return
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            level = logging.WARNING if reply.answer is Answer.DOWN else logging.ERROR
            text = "traces wait in the store, try %d: the collector at %s: %s; %s"
            log.log(level, text, self._failures, where, reply.reason, reply.hint)

    def _pause(self, reply: Reply) -> float:
        if reply.answer is Answer.DENIED:
            return self._pace.denied
        pause = min(self._pace.first_pause * 2 ** min(self._failures - 1, 16), self._pace.longest_pause)
        return pause * random.uniform(0.75, 1.25)  # several services do not come back in step


class _NotNow(Exception):
    """The collector takes nothing; try again after a pause, in seconds."""

    def __init__(self, pause: float) -> None:
        super().__init__(pause)
        self.pause = pause


def _frozen(record: RunRecord, due: Due, baggage: Sequence[str]) -> tuple[Telling, bytes]:
    found = telling(record.run, run_spans(record, baggage), due.told, due.over, datetime.now(UTC))
    return found, pack(found)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


async def _within(seconds: float, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
