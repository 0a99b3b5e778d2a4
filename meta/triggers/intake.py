"""Where every message becomes a run, whichever way it came: once, and written down."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from meta.api.starter import Accepted, Started, Starter
from meta.store import Store
from meta.store.triggers import EventRecord
from meta.triggers.asking import Ask
from meta.triggers.causes import cause_of
from meta.triggers.event import Event
from meta.triggers.kept import became
from workflows.errors import MetaError, ServiceUnavailable
from workflows.naming import request_run_id
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

log = logging.getLogger(__name__)


class Intake:
    """Starts runs for messages and remembers what became of each. It knows nothing of NATS: no acknowledgement here."""

    def __init__(self, starter: Starter, store: Store) -> None:
        self._starter = starter
        self._store = store

    async def start(
        self,
        ask: Ask,
        events: Sequence[Event],
        *,
        source: str = "nats",
        reply_format: str = "cloudevents",
        context: JsonObject | None = None,
        accepted: Accepted | None = None,
        replayed_at: datetime | None = None,
    ) -> Started:
        """Start the run that messages ask for, or find the one that they started.

        Args:
            ask: what they ask for.
            events: one, or all of a batch or burst.
            source: where they came from: nats, bridge.
            reply_format: of statuses on `ask.reply`.
            context: what that format needs to know of the request.
            accepted: told of a new run before anybody is told of its events.
            replayed_at: when somebody asked to try dead ones again; None: they have come.

        Raises:
            MetaError: as `Starter.start`; nothing has started, and nothing is written down.
        """
        async with self._place(ask, events, source):
            if len(events) == 1 and events[0].identity == ask.identity and events[0].deliveries > 1:
                # Before its acknowledgement was lost, its trigger may have gathered, and it started a run with others.
                known = await self._store.triggers.find(ask.workflow, ask.identity)
                if known is not None and known.batch and known.outcome in ("held", "started"):
                    if (started := became(known, events[0])) is not None:
                        return started
                    raise ServiceUnavailable(f"{known.id} is about to start with others", hint="it is asked for again")
            if ask.reply:  # before the start, so that the first status finds it
                run_id = request_run_id(ask.workflow, ask.identity)
                await self._store.triggers.add_reply(run_id, ask.reply, reply_format, context or {})
            started = await self._starter.start(
                workflow=ask.workflow,
                inputs=ask.inputs,
                request_id=ask.identity,
                trigger=source,
                asked=ask.digest,
                trace=ask.trace,
                cause=cause_of(ask, events, source, replayed_at) if events else None,
                accepted=accepted,
            )
            await self._record(
                [record_of(event, ask.workflow, ask.trigger, source, run_id=started.run_id) for event in events]
            )
            return started

    def settled(self, definition: MetaWorkflow) -> MetaWorkflow:
        """A definition as a run would have it that was started now; see `Starter.settled`."""
        return self._starter.settled(definition)

    @asynccontextmanager
    async def _place(self, ask: Ask, events: Sequence[Event], source: str) -> AsyncGenerator[None]:
        """What a start stands in; here nothing keeps it waiting."""
        yield

    async def bury(self, event: Event, workflow: str, trigger: str, error: MetaError, source: str = "nats") -> None:
        """Write down a message that can never start a run, with its bytes, so that it can be looked at and replayed.

        Args:
            event: the message.
            workflow: whose trigger it met.
            trigger: the trigger's key.
            error: why.
            source: where it came from.

        Raises:
            ServiceUnavailable: the store does not answer; the message must not be let go.
        """
        await self._store.triggers.put(record_of(event, workflow, trigger, source, error=error))

    async def _record(self, records: Sequence[EventRecord]) -> None:
        try:
            await self._store.triggers.put_all(records)
        except ServiceUnavailable as error:  # the run has started; the record is for people and for later copies
            log.warning("messages that started %s were not recorded: %s", records[0].run_id, error)


def record_of(
    event: Event,
    workflow: str,
    trigger: str,
    source: str = "nats",
    *,
    run_id: str = "",
    error: MetaError | None = None,
) -> EventRecord:
    """What is written down of a message: that it started a run, or with an error that it never can."""
    return EventRecord(
        workflow=workflow,
        trigger=trigger,
        identity=event.identity,
        source=source,
        subject=event.subject,
        outcome="dead" if error is not None else "started",
        run_id=run_id,
        code=error.code if error is not None else "",
        reason=error.message if error is not None else "",
        hint=error.hint if error is not None else "",
        deliveries=event.deliveries,
        digest=event.digest,
        headers=dict(event.headers),
        data=event.raw if error is not None else None,
        event_time=event.time,
    )
