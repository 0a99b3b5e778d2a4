"""Dead events are tried again, from the store alone: as if they came now, under the newest definition.

A replay goes the way of a message, through the `Intake`, under the message's identity. So however often it is replayed,
from however many places, it starts one run at most, and none when another message of its identity has started one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from meta.api.starter import Started, Starter
from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.store.triggers import event_row_id
from meta.triggers.asking import Ask, ask, identified, plain_ask, wants
from meta.triggers.decode import Place, decode
from meta.triggers.event import Event, own_identity
from meta.triggers.intake import Intake
from meta.triggers.limits import LimitedIntake
from workflows.errors import Conflict, InvalidInput, MetaError, NotFound, ServiceUnavailable
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject, JsonValue

log = logging.getLogger(__name__)

_AT_ONCE = 8
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
        trigger: whose limits hold for it; None: there are none.
    """

    ask: Ask
    event: Event
    trigger: NatsTrigger | None = None
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


@dataclass(frozen=True, slots=True)
class _Round:
    """One replay of several events: a few are worked on at a time, and those that limits keep waiting stand aside."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    limited: dict[tuple[str, str], Intake] = field(default_factory=dict[tuple[str, str], Intake])


class Replayer:
    """Replays events.

    Args:
        starter: starts runs.
        store: keeps the events.
        max_event: largest message that is read, in bytes.
        readings: for sources other than `nats`, by name.
    """

    def __init__(
        self, starter: Starter, store: Store, *, max_event: int, readings: Mapping[str, Reading] | None = None
    ) -> None:
        self._starter = starter
        self._intake = Intake(starter, store)
        self._store = store
        self._max_event = max_event
        self._readings: dict[str, Reading] = {"nats": self._nats, **(readings or {})}
        self._tasks: set[asyncio.Task[Replayed]] = set()
        self._closed = False

    async def replay(self, event_ids: Sequence[str]) -> AsyncGenerator[Replayed]:
        """Try events again, a few at a time; those of a trigger with limits start as the limits allow.

        Args:
            event_ids: whole ones.

        Yields:
            What became of each, as it ends. What has not been answered for when the caller stops stays dead.

        Raises:
            NotFound: there is no such event.
            ServiceUnavailable: the store does not answer.
        """
        together = _Round()
        tasks = [asyncio.create_task(self._one(event_id, together)) for event_id in event_ids]
        self._tasks.update(tasks)
        try:
            for task in asyncio.as_completed(tasks):
                try:
                    yield await task
                except asyncio.CancelledError:
                    if not self._closed:
                        raise
                    hint = "replay the rest again in a moment"
                    raise ServiceUnavailable("the service is stopping", hint=hint) from None
        finally:
            await _ended(tasks)
            self._tasks.difference_update(tasks)

    async def close(self) -> None:
        """End what is under way; it can be replayed again."""
        self._closed = True
        await _ended(self._tasks)

    async def _one(self, event_id: str, together: _Round) -> Replayed:
        """Try one event again. What fails is in the answer, and written down unless trying again may help."""
        async with together.slots:
            row = await self._store.events.get(event_id)
            if row.outcome == "started":
                return Replayed(row.id, "started", row.run_id or "")
            reading = self._readings.get(row.source)
            if (refusal := _refusal(row)) is not None or reading is None:
                return _without(row, refusal or _unreadable(row))  # why it died stays written down
        try:
            return await self._again(row, reading, together)
        except MetaError as error:
            if not error.retryable:
                await self._store.events.failed_again(event_id, error)
            log.info("event %s stays dead: %s", event_id, error)
            return _without(row, error)
        except Exception as error:  # a fault of ours with one event must not keep the others
            if self._closed:  # cancelled in the middle of a statement, whose connection says so in its own words
                raise asyncio.CancelledError from error
            log.exception("event %s cannot be replayed", event_id)
            text = f"{type(error).__name__}: {error}"
            return _without(row, MetaError(text, hint="the service's log has the whole of it"))

    async def _again(self, row: TriggerEventRow, reading: Reading, together: _Round) -> Replayed:
        async with together.slots:
            read = await reading(row)
            if isinstance(read, Unwanted):
                await self._store.events.unwanted(row.id, read.reason)
                return Replayed(row.id, "discarded", reason=read.reason)
            limited = self._limited(read, together)
            started = await self._start(row, read, self._intake) if limited is None else None
        if limited is not None:
            started = await self._start(row, read, limited)
        assert started is not None
        log.info("event %s was replayed: run %s", row.id, started.run_id)
        return Replayed(row.id, "started", started.run_id, started.created)

    def _limited(self, read: Wanted, together: _Round) -> Intake | None:
        """The intake of a trigger that has limits, one for all its events, which stand in line there."""
        trigger = read.trigger
        if trigger is None or (trigger.concurrency is None and trigger.rate is None):
            return None
        key = (read.ask.workflow, read.ask.trigger)
        return together.limited.setdefault(key, LimitedIntake(self._starter, self._store, trigger))

    async def _start(self, row: TriggerEventRow, read: Wanted, intake: Intake) -> Started:
        events = self._store.events
        try:
            started = await intake.start(
                read.ask, [read.event], source=row.source, reply_format=read.reply_format, context=read.context,
                replayed_at=datetime.now(UTC),
            )  # fmt: skip
        except BaseException:
            # its limits may have let it through, and no redelivery would come to take its place
            for event_id in {row.id, event_row_id(read.ask.workflow, read.event.identity)}:
                await events.let_go(event_id)
            raise
        await events.started(row.id, started.run_id)  # where its identity, and so its row, is another now
        return started

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
        event = replace(event, stored=row.received_at)
        identity = own_identity(row.identity)
        if event.identity.startswith(_PLACED):
            event = replace(event, identity=identity)
        if not row.trigger:
            return Wanted(plain_ask(row.workflow, event), event)
        trigger = await self._trigger(row.workflow, row.trigger)
        if not wants(trigger, event):
            return Unwanted(f"its trigger does not want it any more: when '{trigger.when}' is false")
        event = identified(trigger, event)
        if identity.startswith(_KEYED):
            event = replace(event, identity=identity)
        return Wanted(ask(row.workflow, trigger, [event], event.identity), event, trigger)

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


async def _ended(tasks: Collection[asyncio.Task[Replayed]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _without(row: TriggerEventRow, error: MetaError) -> Replayed:
    return Replayed(row.id, row.outcome, reason=error.message, code=error.code, hint=error.hint)


def _refusal(row: TriggerEventRow) -> MetaError | None:
    """Why an event is not even tried."""
    if row.outcome == "held" and not (row.run_id and not row.batch):  # one whose start was cut off is tried again
        return Conflict("the event waits for others of its batch", hint="only dead events are replayed")
    if row.outcome not in ("dead", "held"):
        return Conflict(f"the event was {row.outcome}", hint="only dead events are replayed")
    if row.data is None:
        return Conflict("the message's bytes were not kept", hint="publish it again, or discard the event")
    return None


def _unreadable(row: TriggerEventRow) -> MetaError:
    return InvalidInput(
        f"events of source {row.source!r} cannot be replayed here",
        hint="send the request again, or start the workflow with `meta run`",
    )
