"""What is done with a message: read, asked, started, acknowledged; or given back; or buried."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.errors import Error as NatsError

from meta.api.starter import Started
from meta.nats import describe
from meta.triggers import metrics
from meta.triggers.asking import identified, wants
from meta.triggers.beginning import Begin
from meta.triggers.dead import DeadLetters
from meta.triggers.decode import decode, place_of, undecoded
from meta.triggers.event import Event
from meta.triggers.flight import Flight
from meta.triggers.outage import Outage
from meta.triggers.suspects import Suspects, Turns
from workers.log_context import log_context, note_run
from workflows.errors import MetaError
from workflows.spec.subjects import TRIGGER
from workflows.spec.trigger_models import NatsTrigger

log = logging.getLogger(__name__)

SILENT_DEATHS = 5
"""Deliveries beyond `maxDeliver` after which a message is handled alone: nobody has ever said why it failed, so
services may have died of it, or of one beside it. Where messages are gathered, none is ever alone: it is put aside."""


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

    @property
    def place(self) -> tuple[str, str]:
        """Tells sources apart."""
        return (self.workflow, self.key)

    def workflow_of(self, subject: str) -> str:
        return self.workflow or subject.removeprefix(TRIGGER)


class Handler:
    """Handles the messages of one source.

    Args:
        source: where they come from.
        created: creation time of their stream.
        begin: makes a run of one.
        dead: takes those that can never start one.
        max_bytes: largest message that is read.
        suspects: begins those of which services may have died; None where messages are gathered.
    """

    def __init__(
        self, source: Source, created: str, begin: Begin, dead: DeadLetters, max_bytes: int, *,
        suspects: Suspects | None,
    ) -> None:  # fmt: skip
        self._source = source
        self._created = created
        self._begin = begin
        self._dead = dead
        self._max_bytes = max_bytes
        self._suspects = suspects
        self._turns = Turns()
        self._outage = Outage(f"messages of {source.trigger.subject}")

    @property
    def holding(self) -> int:
        """Messages that an outage keeps from starting; while there are any, no others should be fetched."""
        return self._outage.holding

    async def handle(self, flight: Flight) -> None:
        """Handle a message until the server has had the last word about it, or can only deliver it again.

        When it is cancelled, a message whose run has not started is given back at once, for others to take.
        """
        if flight.deliveries > 1:
            metrics.redelivered(self._source.workflow, self._source.key)
        try:
            suspected = flight.deliveries > self._source.trigger.max_deliver + SILENT_DEATHS
            alone = suspected and self._suspects is not None
            async with self._turns.alone() if alone else self._turns.beside_others():
                await self._handle(flight, suspected=suspected)
        except asyncio.CancelledError:
            if not flight.told:
                await (flight.ack() if flight.started else flight.nak())
            raise
        except (NatsError, OSError) as error:  # of a last word: the message comes again
            log.warning("message %s: %s", flight, describe(error))

    async def _handle(self, flight: Flight, *, suspected: bool) -> None:
        message = flight.message
        place = place_of(message, self._created)
        event = undecoded(message.subject, message.data, message.headers, place)
        try:
            event = decode(message.subject, message.data, message.headers, place, max_bytes=self._max_bytes)
            if self._source.workflow:
                if not wants(self._source.trigger, event):  # before its identity, which others' messages need not have
                    self._count("skipped")
                    await flight.ack()
                    return
                event = identified(self._source.trigger, event)
            if suspected:
                started = await self._begin_suspect(event, flight.deliveries)
            else:
                started = await self._outage.through(lambda: self._begin(event))
        except MetaError as error:
            await (self._fail(flight, event, error) if error.retryable else self._bury(flight, event, error))
        except (NatsError, OSError):
            raise
        except Exception as error:  # a fault of ours with one message: it comes again, and is put aside in the end
            log.exception("message %s cannot be handled", event.identity)
            text = f"{type(error).__name__}: {error}"
            await self._fail(flight, event, MetaError(text, hint="the service's log has the whole of it"))
        else:
            await self._done(flight, event, started)

    async def _begin_suspect(self, event: Event, deliveries: int) -> Started:
        suspects, workflow = self._suspects, self._source.workflow_of(event.subject)
        if suspects is None:
            raise _silent(deliveries)
        await self._outage.through(lambda: suspects.mark(event, workflow, self._source.key))
        return await self._outage.through(lambda: suspects.begin(event, workflow))

    async def _done(self, flight: Flight, event: Event, started: Started) -> None:
        flight.started = True
        await flight.ack()
        self._count("started" if started.created else "repeated")
        if log_context().run != started.run_id:  # it was started by another task, or before
            note_run(started.run_id)
        if started.created and flight.deliveries == 1:
            lag = datetime.now(UTC) - flight.message.metadata.timestamp
            metrics.started_after(self._source.workflow, self._source.key, lag / timedelta(seconds=1))
        log.info("message %s %s run %s", event.identity, "started" if started.created else "repeats", started.run_id)

    async def _fail(self, flight: Flight, event: Event, error: MetaError) -> None:
        """Let it come again after a pause, as often as the trigger says."""
        if flight.deliveries >= self._source.trigger.max_deliver:
            await self._bury(flight, event, error)
            return
        pause = self._pause(flight)
        log.warning("message %s comes again in %.1f s: %s", event.identity, pause, error)
        self._count("failed")
        await flight.nak(pause)

    def _pause(self, flight: Flight) -> float:
        """Seconds until it is delivered again."""
        backoff = self._source.trigger.backoff
        return backoff[min(flight.deliveries, len(backoff)) - 1] / timedelta(seconds=1)

    async def _bury(self, flight: Flight, event: Event, error: MetaError) -> None:
        workflow = self._source.workflow_of(event.subject)
        log.warning("message %s is dead: %s", event.identity, error)
        try:
            await self._dead.bury(event, workflow, self._source.key, error)
        except MetaError as refused:  # it stays where it is, and comes again for ever
            log.error("message %s could not be put aside: %s", event.identity, refused)
            await flight.nak(self._pause(flight))
            return
        self._count("dead")
        await flight.term()

    def _count(self, outcome: str) -> None:
        metrics.message_ended(self._source.workflow, self._source.key, outcome)


def _silent(deliveries: int) -> MetaError:
    return MetaError(
        f"it was delivered {deliveries} times, and no service has said how it ended",
        hint="services may have died of it: look at their logs before you replay it",
    )
