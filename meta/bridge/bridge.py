"""The bridge as one job of the service: its connection, the core subscriber, the catch-up behind it."""

from __future__ import annotations

import asyncio
import logging

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from meta.bridge.catch_up import CatchUp
from meta.bridge.desk import Answer, Desk
from meta.bridge.request import encode
from meta.bridge.subscriber import CoreSubscriber
from meta.config import BridgeConfig, NatsConfig
from meta.nats import connect, describe
from meta.nats_login import shown
from meta.server_process import end_task
from meta.store import Store
from meta.triggers.intake import Intake

log = logging.getLogger(__name__)

RECONNECT_S = 2.0
LOOK_S = 1.0
DRAIN_S = 3.0


class Bridge:
    """Serves the clients of a pipeline bridge; runs inside the service, and any number of services share the work.

    Args:
        config: of the bridge.
        nats: where the clients are.
        intake: starts runs.
        store: knows what was asked before.

    Attributes:
        desk: decides what a request comes to.
        ready: set while requests are received.
    """

    def __init__(self, config: BridgeConfig, nats: NatsConfig, intake: Intake, store: Store) -> None:
        self.config = config
        self._nats = nats
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._stopping = False
        self.desk = Desk(config, nats.max_event, intake, store)
        self.subscriber = CoreSubscriber(config, self.desk, self._publish, kept=lambda: self.catch_up.keeps)
        self.catch_up = CatchUp(config, nats, self.desk, self._publish, in_hand=self.subscriber.has)
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Connect and serve until cancelled; NATS may come and go."""
        while not self._stopping:
            try:
                await self._session()
            except (NatsError, OSError, TimeoutError) as error:
                log.warning("NATS at %s: %s; trying again", shown(self._nats), describe(error))
            self.ready.clear()
            await asyncio.sleep(RECONNECT_S)

    async def drain(self) -> None:
        """Take no more requests and finish those in hand; what takes longer is left on the stream, or told so."""
        self._stopping = True
        self.ready.clear()
        if self._subscription is not None:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._subscription.drain()
            except (NatsError, OSError, TimeoutError) as error:
                log.warning("the bridge's subscription was not drained: %s", error or type(error).__name__)
        await self.subscriber.finish(DRAIN_S)
        if self._client is not None and self._client.is_connected:
            try:
                await self._client.flush(timeout=1)  # the last answers leave before the connection ends
            except (NatsError, OSError, TimeoutError) as error:
                log.warning("the bridge's last answers may be lost: %s", error or type(error).__name__)

    async def _session(self) -> None:
        client = await connect(self._nats, "meta-bridge", self._hear)
        reader: asyncio.Task[None] | None = None
        try:
            self._client = client
            self._subscription = await client.subscribe(
                self.config.subject, queue=self.config.queue, cb=self.subscriber.receive
            )
            await client.flush()  # the server has the subscription
            self.ready.set()
            log.info("the bridge listens on %s, queue %s", self.config.subject, self.config.queue)
            if self.config.catch_up:
                reader = asyncio.create_task(self.catch_up.run(client.jetstream()), name="bridge catch-up")
            while not client.is_closed:
                await asyncio.sleep(LOOK_S)
        finally:
            self._subscription = self._client = None
            if reader is not None:
                await end_task(reader)
            await client.close()

    async def _hear(self, error: Exception) -> None:
        log.warning("NATS at %s: %s", shown(self._nats), describe(error))

    async def _publish(self, answer: Answer, reply: str) -> None:
        first = answer.statuses[0]
        encoding = answer.request.encoding
        client = self._client
        level = logging.WARNING if first["status"] == "error" else logging.INFO
        log.log(level, "request %r: %s: %s", answer.request.request_id, first["status"], first["message"])
        try:
            if client is None:
                raise NatsError("not connected")
            if reply:
                await client.publish(reply, encode(first, encoding))
            if answer.subject and not (answer.private and reply):
                for status in answer.statuses:
                    await client.publish(answer.subject, encode(status, encoding))
        except NatsError as error:
            log.warning("request %r was not told '%s': %s", answer.request.request_id, first["status"], error)
