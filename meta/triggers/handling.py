"""What is done with a message: read, asked, started, acknowledged; or given back; or buried."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from nats.errors import Error as NatsError

from meta.api.starter import Started
from meta.triggers import metrics
from meta.triggers.asking import identified, wants
from meta.triggers.beginning import Begin
from meta.triggers.dead import DeadLetters
from meta.triggers.decode import decode, place_of, undecoded
from meta.triggers.event import Event
from meta.triggers.flight import Flight
from meta.triggers.names import SUBJECT
from workflows.errors import MetaError, ServiceUnavailable
from workflows.spec.trigger_models import NatsTrigger

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
SILENT_DEATHS = 5
"""Deliveries beyond `maxDeliver` after which a message is put aside unhandled: nobody has ever said why it failed, so
services may have died of it."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Source:
    """Where messages come from.

    Attributes:
        workflow: whose trigger it is; empty for the service's own subject, where the message says it.
        trigger: as published, or with the defaults for the service's own subject.
    """

    workflow: str
    trigger: NatsTrigger

    @property
    def key(self) -> str:
        return self.trigger.key if self.workflow else ""

    def workflow_of(self, subject: str) -> str:
        return self.workflow or subject.removeprefix(SUBJECT)


class Handler:
    """Handles the messages of one source.

    Args:
        source: where they come from.
        created: creation time of their stream.
        begin: makes a run of one.
        dead: takes those that can never start one.
        max_bytes: largest message that is read.

    Attributes:
        holding: messages that an outage keeps from starting; while there are any, no others should be fetched.
    """

    def __init__(self, source: Source, created: str, begin: Begin, dead: DeadLetters, max_bytes: int) -> None:
        self._source = source
        self._created = created
        self._begin = begin
        self._dead = dead
        self._max_bytes = max_bytes
        self.holding = 0

    async def handle(self, flight: Flight) -> None:
        """Handle a message until the server has had the last word about it, or can only deliver it again.

        When it is cancelled, a message whose run has not started is given back at once, for others to take.
        """
        if flight.deliveries > 1:
            metrics.redelivered(self._source.workflow, self._source.key)
        try:
            await self._handle(flight)
        except asyncio.CancelledError:
            if not flight.told:
                await (flight.ack() if flight.started else flight.nak())
            raise
        except (NatsError, OSError) as error:  # of a last word: the message comes again
            log.warning("message %s: %s", flight, error or type(error).__name__)

    async def _handle(self, flight: Flight) -> None:
        message = flight.message
        place = place_of(message, self._created)
        event = undecoded(message.subject, message.data, message.headers, place)
        try:
            event = decode(message.subject, message.data, message.headers, place, max_bytes=self._max_bytes)
            if self._source.workflow:
                event = identified(self._source.trigger, event)
                if not wants(self._source.trigger, event):
                    self._count("skipped")
                    await flight.ack()
                    return
            if flight.deliveries > self._source.trigger.max_deliver + SILENT_DEATHS:
                raise _silent(flight.deliveries)
            started = await self._through_outages(lambda: self._begin(event))
        except MetaError as error:
            await (self._fail(flight, event, error) if error.retryable else self._bury(flight, event, error))
        except (NatsError, OSError):
            raise
        except Exception as error:
            log.exception("message %s cannot be handled", event.identity)
            text = f"{type(error).__name__}: {error}"
            await self._fail(flight, event, MetaError(text, hint="the service's log has the whole of it"))
        else:
            await self._done(flight, event, started)

    async def _done(self, flight: Flight, event: Event, started: Started) -> None:
        flight.started = True
        await flight.ack()
        self._count("started" if started.created else "repeated")
        if started.created and flight.deliveries == 1:
            lag = datetime.now(UTC) - flight.message.metadata.timestamp
            metrics.started_after(self._source.workflow, self._source.key, lag / timedelta(seconds=1))
        log.info("message %s %s run %s", event.identity, "started" if started.created else "repeats", started.run_id)

    async def _fail(self, flight: Flight, event: Event, error: MetaError) -> None:
        """Let it come again after a pause, as often as the trigger says."""
        trigger = self._source.trigger
        if flight.deliveries >= trigger.max_deliver:
            await self._bury(flight, event, error)
            return
        pause = trigger.backoff[min(flight.deliveries, len(trigger.backoff)) - 1]
        log.warning("message %s comes again in %s: %s", event.identity, pause, error)
        self._count("failed")
        await flight.nak(pause / timedelta(seconds=1))

    async def _bury(self, flight: Flight, event: Event, error: MetaError) -> None:
        workflow = self._source.workflow_of(event.subject)
        log.warning("message %s is dead: %s", event.identity, error)
        try:
            await self._through_outages(lambda: self._dead.bury(event, workflow, self._source.key, error))
        except MetaError as refused:  # it stays where it is, and is tried again for ever
            log.error("message %s could not be put aside: %s", event.identity, refused)
            await flight.nak(self._source.trigger.backoff[-1] / timedelta(seconds=1))
            return
        self._count("dead")
        await flight.term()

    async def _through_outages(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Do something that may meet servers that are down, for as long as they are."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await call()
            except ServiceUnavailable as error:
                log.warning("messages of %s wait: %s", self._source.trigger.subject, error)
            self.holding += 1
            try:
                await asyncio.sleep(pause)
            finally:
                self.holding -= 1
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _count(self, outcome: str) -> None:
        metrics.message_ended(self._source.workflow, self._source.key, outcome)


def _silent(deliveries: int) -> MetaError:
    return MetaError(
        f"it was delivered {deliveries} times, and no service has said how it ended",
        hint="services may have died of it: look at their logs before you replay it",
    )
