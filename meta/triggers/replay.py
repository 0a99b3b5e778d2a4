"""Dead events are tried again, from the store alone: as if they came now, under the newest definition.

A replay goes the way of a message, through the `Intake`, under the message's identity. So however often it is replayed,
from however many places, it starts one run at most, and none when another message of its identity has started one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.triggers.asking import Ask, ask, identified, plain_ask, wants
from meta.triggers.decode import Place, decode
from meta.triggers.event import Event
from meta.triggers.intake import Intake
from workflows.errors import Conflict, InvalidInput, MetaError, NotFound
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject, JsonValue

log = logging.getLogger(__name__)

_AT_ONCE = 8
_LOT = 200
_KEYED, _PLACED = "key:", "nats:seq:"
"""How identities begin that a trigger's `id` gives, and that come from the place in a stream, which we do not keep."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A dead event, read again.

    Attributes:
        ask: what it asks for now.
        event: what it tells.
        reply_format: of statuses on `ask.reply`.
        context: what that format needs to know of the request.
    """

    ask: Ask
    event: Event
    reply_format: str = "cloudevents"
    context: JsonObject = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Nothing asks for a run by this event any more."""

    reason: str


Reading = Callable[[TriggerEventRow], Awaitable[Wanted | Unwanted]]
"""Reads an event of one source again from what was kept of it.

Raises:
    MetaError: it can still start no run; a retryable one, that this cannot be told now.
"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of replaying an event.

    Attributes:
        outcome: what it is now: started, dead, discarded, held.
        run_id: of its run; empty when it has none.
        created: False when the run was there before.
        reason: why it has none, with the error's stable `code` and the mend, where it is one.
    """

    event_id: str
    outcome: str
    run_id: str = ""
    created: bool = False
    reason: str = ""
    code: str = ""
    hint: str = ""


class Replayer:
    """Replays events.

    Args:
        intake: where messages become runs.
        store: keeps the events.
        max_event: largest message that is read, in bytes.
        readings: for sources other than `nats`, by name.
    """

    def __init__(
        self, intake: Intake, store: Store, *, max_event: int, readings: Mapping[str, Reading] | None = None
    ) -> None:
        self._intake = intake
        self._store = store
        self._max_event = max_event
        self._readings: dict[str, Reading] = {"nats": self._nats, **(readings or {})}

    async def replay(self, event_ids: Sequence[str]) -> AsyncGenerator[Replayed]:
        """Try events again, a few at a time.

        Args:
            event_ids: whole ones.

        Yields:
            What became of each, as it ends.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(event_id: str) -> Replayed:
            async with slots:
                return await self.one(event_id)

        for lot in _lots(event_ids):
            tasks = [asyncio.create_task(one(event_id)) for event_id in lot]
            try:
                for task in asyncio.as_completed(tasks):
                    yield await task
            finally:
                for task in tasks:
                    task.cancel()

    async def one(self, event_id: str) -> Replayed:
        """Try one event again. What fails is in the answer, and written down unless trying again may help.

        Raises:
            NotFound: there is no such event.
            ServiceUnavailable: the store does not answer.
        """
        row = await self._store.events.get(event_id)
        if row.outcome == "started":
            return Replayed(row.id, "started", row.run_id or "")
        reading = self._readings.get(row.source)
        if reading is None or row.outcome != "dead" or row.data is None:
            return _without(row, _refusal(row))  # why it died stays written down
        try:
            return await self._again(row, reading)
        except MetaError as error:
            if not error.retryable:
                await self._store.events.failed_again(event_id, error)
            log.info("event %s stays dead: %s", event_id, error)
            return _without(row, error)

    async def _again(self, row: TriggerEventRow, reading: Reading) -> Replayed:
        read = await reading(row)
        if isinstance(read, Unwanted):
            await self._store.events.unwanted(row.id, read.reason)
            return Replayed(row.id, "discarded", reason=read.reason)
        started = await self._intake.start(
            read.ask, [read.event], source=row.source, reply_format=read.reply_format, context=read.context
        )
        await self._store.events.started(row.id, started.run_id)  # where its identity, and so its row, is another now
        log.info("event %s was replayed: run %s", row.id, started.run_id)
        return Replayed(row.id, "started", started.run_id, started.created)

    async def _nats(self, row: TriggerEventRow) -> Wanted | Unwanted:
        """Read a message again as the consumer would.

        Its identity stays, but for a message that died before it was read as far as its own: that is the one by which
        other copies of it are known.
        """
        place = Place(
            stream="", created="", sequence=0, time=row.event_time or row.received_at, deliveries=row.deliveries
        )
        headers = {name: str(value) for name, value in row.headers.items()}
        event = decode(row.subject, row.data or b"", headers, place, max_bytes=self._max_event)
        if event.identity.startswith(_PLACED):
            event = replace(event, identity=row.identity)
        if not row.trigger:
            return Wanted(plain_ask(row.workflow, event), event)
        trigger = await self._trigger(row.workflow, row.trigger)
        event = identified(trigger, event)
        if row.identity.startswith(_KEYED):
            event = replace(event, identity=row.identity)
        if not wants(trigger, event):
            return Unwanted(f"its trigger does not want it any more: when '{trigger.when}' is false")
        return Wanted(ask(row.workflow, trigger, [event], event.identity), event)

    async def _trigger(self, workflow: str, key: str) -> NatsTrigger:
        """The trigger of a key in the newest version.

        Raises:
            NotFound: the workflow, or its trigger, is gone.
        """
        definition = (await self._store.workflows.newest(workflow)).definition
        triggers = {trigger.nats.key: trigger.nats for trigger in definition.triggers if trigger.nats is not None}
        if key not in triggers:
            raise NotFound(
                f"workflow {workflow} has no trigger {key!r} any more",
                hint=f"its triggers: {', '.join(triggers) or 'none'}; publish it with a trigger of that 'name', or "
                "discard the event",
            )
        return triggers[key]


def _without(row: TriggerEventRow, error: MetaError) -> Replayed:
    return Replayed(row.id, row.outcome, reason=error.message, code=error.code, hint=error.hint)


def _refusal(row: TriggerEventRow) -> MetaError:
    """Why an event is not even tried."""
    if row.outcome == "held":
        return Conflict("the event waits for others of its batch", hint="only dead events are replayed")
    if row.outcome != "dead":
        return Conflict(f"the event was {row.outcome}", hint="only dead events are replayed")
    if row.data is None:
        return Conflict("the message's bytes were not kept", hint="publish it again, or discard the event")
    return InvalidInput(
        f"events of source {row.source!r} cannot be replayed here",
        hint="send the request again, or start the workflow with `meta run`",
    )


def _lots(event_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(event_ids), _LOT):
        yield event_ids[at : at + _LOT]
