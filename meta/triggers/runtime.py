"""Keeps a durable consumer for every trigger of the published definitions, and works on their messages.

Any number of services do so at the same time, on the same consumers: what one makes, the others find.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.js import JetStreamContext

from meta.api.starter import Starter
from meta.config import NatsConfig
from meta.nats import connect
from meta.store import Store
from meta.store.event_tables import TriggerRow
from meta.store.trigger_states import TriggerState
from meta.triggers.beginning import Begin, begin_alone, begin_plain
from meta.triggers.consumer import Consumer
from meta.triggers.dead import DeadLetters
from meta.triggers.durables import consumer_config, delete_consumer, ensure_consumer
from meta.triggers.handling import Handler, Source
from meta.triggers.intake import Intake
from meta.triggers.jetstream import API_TIMEOUT_S, refusals
from meta.triggers.names import CONSUMER, DEAD_AGE_S, DEAD_STREAM, DEAD_SUBJECT, STREAM, SUBJECT
from meta.triggers.plan import Plan, Planner, Wanted
from meta.triggers.streams import Bound, Streams
from workflows.errors import MetaError, ServiceUnavailable
from workflows.spec.trigger_models import NatsTrigger

log = logging.getLogger(__name__)

ROUND_S = 5.0
"""Between two looks at what is published and at NATS, when nothing calls for one at once."""
UNCONNECTED_S = 1.0
SAID_S = 10.0
"""A trigger's state is written when it changes, and so often; one that nobody has said for twice as long is unsure."""
MOST = 32
"""Messages of a trigger in work at a time."""
MOST_GATHERED = 1000

PLAIN = Source("", NatsTrigger(subject=f"{SUBJECT}>"))
"""The service's own subject, on which a message names the workflow: as if it were a trigger with the defaults."""


@dataclass(frozen=True, slots=True)
class _Running:
    source: Source
    consumer: Consumer
    since: float


class NatsTriggers:
    """Runs inside the service.

    Args:
        config: where NATS is.
        starter: starts runs.
        store: knows what is published.

    Attributes:
        ready: set while messages are listened for.
    """

    def __init__(self, config: NatsConfig, starter: Starter, store: Store) -> None:
        self._config = config
        self._store = store
        self._intake = Intake(starter, store)
        self._planner = Planner(store)
        self._client: Client | None = None
        self._error = ""
        self._denied = ""
        self._running: dict[tuple[str, str], _Running] = {}
        self._nudged = asyncio.Event()
        self.ready = asyncio.Event()

    def nudge(self) -> None:
        """Look at once: what is published has changed."""
        self._nudged.set()

    async def run(self) -> None:
        """Work until cancelled; NATS and the store may come and go."""
        connecting = asyncio.create_task(self._connect())
        try:
            while True:
                self._nudged.clear()
                if self._client is not None and self._client.is_closed:
                    await self._stop_all()
                    self._client = None
                    connecting = asyncio.create_task(self._connect())
                try:
                    await self._round()
                except ServiceUnavailable as error:
                    log.warning("triggers: %s", error)
                await self._pause()
        finally:
            connecting.cancel()
            await _to_its_end(self._close())

    async def _pause(self) -> None:
        connected = self._client is not None and self._client.is_connected
        try:
            async with asyncio.timeout(ROUND_S if connected else UNCONNECTED_S):
                await self._nudged.wait()
        except TimeoutError:
            return

    async def _connect(self) -> None:
        while self._client is None:
            try:
                self._client = await connect(self._config, "meta-service", self._tell)
            except Exception as error:  # whatever it is, it may be mended while we run
                await self._tell(error)
                await asyncio.sleep(UNCONNECTED_S)
        self.nudge()

    async def _tell(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if "permissions violation" in text.lower():
            self._denied = text
        elif text == self._error:
            return  # the same again every second
        else:
            self._error = text
        log.warning("NATS: %s", text)

    async def _round(self) -> None:
        plan = await self._planner.plan()
        client = self._client
        if client is None or not client.is_connected:
            self.ready.clear()
            text = f"NATS does not answer{': ' * bool(self._error)}{self._error}"
            hint = "nats.url in meta.toml says where it is looked for; `meta doctor` checks it"
            states = [_failing(one.row, ServiceUnavailable(text, hint=hint)) for one in plan.wanted]
            await self._report(plan, states, unsure=True)
            return
        js = client.jetstream(timeout=API_TIMEOUT_S)
        streams = Streams(client, js, self._config)
        await self._plain(client, js, streams)
        await self._remove(js, plan)
        slots = asyncio.Semaphore(8)

        async def one(wanted: Wanted) -> TriggerState:
            async with slots:
                return await self._one(client, js, streams, wanted)

        await self._report(plan, await asyncio.gather(*(one(wanted) for wanted in plan.wanted)))
        if ("", "") in self._running:
            self.ready.set()

    async def _plain(self, client: Client, js: JetStreamContext, streams: Streams) -> None:
        """The service's own subjects."""
        try:
            with refusals("making the service's own streams", self._denied):
                await streams.ensure(DEAD_STREAM, [f"{DEAD_SUBJECT}>"], DEAD_AGE_S)
                place = await streams.ensure(STREAM, [f"{SUBJECT}>"])
                await ensure_consumer(js, STREAM, consumer_config(CONSUMER, "", "", PLAIN.trigger, None))
                await self._serve(client, js, place=place, name=CONSUMER, source=PLAIN, begin=begin_plain(self._intake))
        except MetaError as error:
            log.warning("messages on %s> are not read: %s", SUBJECT, error)

    async def _one(self, client: Client, js: JetStreamContext, streams: Streams, wanted: Wanted) -> TriggerState:
        row, trigger, workflow = wanted.row, wanted.trigger, wanted.workflow
        try:
            with refusals(f"reading {trigger.subject}", self._denied):
                place = await streams.find(workflow, trigger, row.stream)
                if row.stream and row.stream != place.stream:
                    await delete_consumer(js, row.stream, row.consumer, workflow, row.name)
                config = consumer_config(row.consumer, workflow, row.name, trigger, row.since)
                info = await ensure_consumer(js, place.stream, config)
                begin = begin_alone(self._intake, workflow, trigger)
                await self._serve(
                    client, js, place=place, name=row.consumer, source=Source(workflow, trigger), begin=begin
                )
        except MetaError as error:
            await self._stop((workflow, row.name))
            return _failing(row, error)
        return TriggerState(
            workflow, row.name, "active",
            stream=place.stream, pending=info.num_pending, unacknowledged=info.num_ack_pending,
        )  # fmt: skip

    async def _serve(
        self, client: Client, js: JetStreamContext, *, place: Bound, name: str, source: Source, begin: Begin
    ) -> None:
        key = (source.workflow, source.key)
        running = self._running.get(key)
        if running is not None:
            if running.source == source and running.consumer.place == place and not running.consumer.ended:
                return
            await self._stop(key)
        dead = DeadLetters(client, js, self._intake)
        handler = Handler(source, place.created, begin, dead, self._config.max_event)
        since = time.monotonic()

        def broken() -> None:  # one that breaks again and again waits for its turn
            if time.monotonic() - since > ROUND_S:
                self.nudge()

        consumer = Consumer(
            client, js, place, name, handler,
            most=_most(source.trigger),
            keep_s=source.trigger.ack_wait / timedelta(seconds=3),
            on_broken=broken,
        )  # fmt: skip
        self._running[key] = _Running(source, consumer, since)
        await consumer.start()
        log.info("listening for messages on %s", source.trigger.subject)

    async def _remove(self, js: JetStreamContext, plan: Plan) -> None:
        for row in plan.gone:
            await self._stop((row.workflow, row.name))
            try:
                if row.stream:
                    with refusals(f"deleting consumer {row.consumer}", self._denied):
                        await delete_consumer(js, row.stream, row.consumer, row.workflow, row.name)
            except MetaError as error:
                log.warning("trigger %s of %s stays a while: %s", row.name, row.workflow, error)
            else:
                await self._store.trigger_states.remove(row.workflow, row.name)
                log.info("trigger %s of %s is no more", row.name, row.workflow)

    async def _report(self, plan: Plan, states: list[TriggerState], *, unsure: bool = False) -> None:
        now = datetime.now(UTC)
        rows = {(one.row.workflow, one.row.name): one.row for one in plan.wanted}
        news = [one for one in states if _is_news(rows[one.workflow, one.name], one, now)]
        if news:
            after = now - timedelta(seconds=2 * SAID_S) if unsure else None
            await self._store.trigger_states.report(news, unless_said_after=after)

    async def _stop(self, key: tuple[str, str]) -> None:
        if (running := self._running.pop(key, None)) is not None:
            await running.consumer.stop()

    async def _stop_all(self) -> None:
        self.ready.clear()
        await asyncio.gather(*(self._stop(key) for key in list(self._running)))

    async def _close(self) -> None:
        await self._stop_all()
        if self._client is not None and not self._client.is_closed:
            await self._client.close()


def _most(trigger: NatsTrigger) -> int:
    if trigger.batch is not None:
        return min(MOST_GATHERED, max(MOST, 2 * trigger.batch.max))
    return MOST_GATHERED if trigger.debounce is not None else MOST


def _failing(row: TriggerRow, error: MetaError) -> TriggerState:
    return TriggerState(row.workflow, row.name, "failing", error.message, error.hint)


def _is_news(row: TriggerRow, said: TriggerState, now: datetime) -> bool:
    known = (row.state, row.message, row.hint, row.pending, row.unacknowledged)
    new = (said.state, said.message, said.hint, said.pending, said.unacknowledged)
    stream = said.stream and said.stream != row.stream
    return known != new or bool(stream) or now - row.updated_at > timedelta(seconds=SAID_S)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Wait for something, however often we are cancelled: messages in work must be given back."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
