"""Keeps a durable consumer for every trigger of the published definitions, and works on their messages.

Any number of services do so at the same time, on the same consumers: what one makes, the others find.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from meta.api.starter import Starter
from meta.config import NatsConfig
from meta.nats import connect, describe
from meta.nats_login import shown
from meta.store import Store
from meta.store.event_tables import TriggerRow
from meta.store.trigger_states import TriggerState
from meta.triggers.durables import consumer_config, delete_consumer, ensure_consumer
from meta.triggers.handling import Source
from meta.triggers.jetstream import API_TIMEOUT_S, refusals
from meta.triggers.names import CONSUMER, DEAD_AGE_S, DEAD_STREAM, STREAM
from meta.triggers.plan import Plan, Planner, Wanted
from meta.triggers.retire import retire
from meta.triggers.serving import PLAIN, Serving
from meta.triggers.streams import Streams
from workflows.errors import MetaError, ServiceUnavailable
from workflows.spec.subjects import DEAD, TRIGGER

log = logging.getLogger(__name__)

ROUND_S = 5.0
"""Between two looks at what is published and at NATS, when nothing calls for one at once."""
UNCONNECTED_S = 1.0
FLUSH_S = 2
SAID_S = 10.0
"""A trigger's state is written when it changes, and so often; one that nobody has said for twice as long is unsure."""


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
        self._planner = Planner(store)
        self._client: Client | None = None
        self._error = ""
        self._denied = ""
        self._serving = Serving(config, starter, store, self.nudge)
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
        text = describe(error)
        if "permissions violation" in str(error).lower():
            self._denied = text
        elif text == self._error:
            return  # the same again every second
        else:
            self._error = text
        log.warning("NATS at %s: %s", shown(self._config), text)

    async def _round(self) -> None:
        plan = await self._planner.plan()
        client = self._client
        if client is None or not client.is_connected:
            self.ready.clear()
            if not self._error:  # the first try is under way
                return
            text = f"NATS at {shown(self._config)} does not answer: {self._error}"
            hint = "nats.url in meta.toml says where it is looked for; `meta doctor` checks the way there"
            states = [_failing(one.row, ServiceUnavailable(text, hint=hint)) for one in plan.wanted]
            await self._report(plan, states, unsure=True)
            return
        if self._error:
            log.info("NATS at %s answers again", shown(self._config))
            self._error = ""
        self._denied = ""
        js = client.jetstream(timeout=API_TIMEOUT_S)
        streams = Streams(client, js, self._config)
        await self._plain(client, js, streams)
        await self._remove(js, streams, plan)
        slots = asyncio.Semaphore(8)

        async def one(wanted: Wanted) -> TriggerState:
            async with slots:
                return await self._one(client, js, streams, wanted)

        await self._report(plan, await asyncio.gather(*(one(wanted) for wanted in plan.wanted)))
        if PLAIN.place in self._serving.sources:
            self.ready.set()

    async def _plain(self, client: Client, js: JetStreamContext, streams: Streams) -> None:
        """The service's own subjects."""
        try:
            with refusals("making the service's own streams", lambda: self._denied):
                await streams.ensure(DEAD_STREAM, [f"{DEAD}>"], DEAD_AGE_S)
                place = await streams.ensure(STREAM, [f"{TRIGGER}>"])
                await ensure_consumer(js, STREAM, consumer_config(CONSUMER, "", "", PLAIN.trigger, None))
                await self._serving.serve(client, js, place, CONSUMER, PLAIN)
        except MetaError as error:
            log.warning("messages on %s> are not read: %s", TRIGGER, error)

    async def _one(self, client: Client, js: JetStreamContext, streams: Streams, wanted: Wanted) -> TriggerState:
        row, trigger, workflow = wanted.row, wanted.trigger, wanted.workflow
        try:
            with refusals(f"reading {trigger.subject}", lambda: self._denied):
                place = await streams.find(workflow, trigger, row.stream)
                if row.stream and row.stream != place.stream:
                    await delete_consumer(js, row.stream, row.consumer, workflow, row.name)
                config = consumer_config(row.consumer, workflow, row.name, trigger, row.since)
                info = await ensure_consumer(js, place.stream, config)
                await self._serving.serve(client, js, place, row.consumer, Source(workflow, trigger))
        except MetaError as error:
            if not error.retryable:  # else what we read may be there all the same
                await self._serving.stop((workflow, row.name))
            return _failing(row, error)
        return TriggerState(
            workflow, row.name, "active",
            stream=place.stream, pending=info.num_pending, unacknowledged=info.num_ack_pending,
        )  # fmt: skip

    async def _remove(self, js: JetStreamContext, streams: Streams, plan: Plan) -> None:
        for row in plan.gone:
            await self._serving.stop((row.workflow, row.name))
            try:
                with refusals(f"deleting consumer {row.consumer}", lambda: self._denied):
                    # a service that died may have made the consumer, and not said where
                    for stream in [row.stream] if row.stream else await streams.may_have(row.subject, row.spec):
                        await delete_consumer(js, stream, row.consumer, row.workflow, row.name)
            except MetaError as error:
                log.warning("trigger %s of %s stays a while: %s", row.name, row.workflow, error)
                continue
            if not await retire(self._store, row.workflow, row.name):  # else the next round asks again
                await self._store.trigger_states.remove(row.workflow, row.name)
                log.info("trigger %s of %s is no more", row.name, row.workflow)

    async def _report(self, plan: Plan, states: list[TriggerState], *, unsure: bool = False) -> None:
        now = datetime.now(UTC)
        rows = {(one.row.workflow, one.row.name): one.row for one in plan.wanted}
        news = [one for one in states if _is_news(rows[one.workflow, one.name], one, now)]
        if news:
            after = now - timedelta(seconds=2 * SAID_S) if unsure else None
            await self._store.trigger_states.report(news, unless_said_after=after)

    async def _stop_all(self) -> None:
        self.ready.clear()
        await self._serving.stop_all()

    async def _close(self) -> None:
        await self._stop_all()
        if self._client is not None and not self._client.is_closed:
            try:
                await self._client.flush(FLUSH_S)  # what was given back
            except (NatsError, TimeoutError, OSError) as error:
                log.info("NATS: %s", describe(error))
            await self._client.close()


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
