"""The stream behind the bridge: it only catches up on what was sent while no service was there to answer.

A stream that acknowledges publishes (JetStream's default) answers requesters before we do, because the server sends its
acknowledgement to the reply subject of whatever is published on a subject of the stream. So ours has `no_ack`. Source:
`no_ack` in https://docs.nats.io/nats-concepts/jetstream/streams#configuration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from meta.bridge.desk import Answer, Desk, Mail, Tell
from meta.bridge.request import Request
from meta.bridge.stream import acknowledging, stream_of
from meta.bridge.subscriber import Publish
from meta.config import BridgeConfig, NatsConfig
from workflows.errors import InvalidInput, MetaError

log = logging.getLogger(__name__)

BATCH = 64
LONG_AGO = timedelta(minutes=10)  # nobody has such a request in hand, whatever the clocks say
LOOK_S = 30.0  # between two looks at whether the stream is still there
RETRY_S = 5.0
FETCH_S = 5.0
ACK_WAIT_S = 30.0  # after a service has died; longer than a try takes, or two services would work on one request
TRY_S = 20.0
SLOWEST_S = 60.0  # between two tries of a request that must wait
MAX_PENDING = 10_000  # requests in their grace or waiting to be tried again, over all services


class CatchUp:
    """Reads the stream behind the core subscribers of all services, as one durable consumer.

    Args:
        config: names, times and bounds.
        nats: of what the service makes.
        desk: decides.
        tell: answers.
        in_hand: whether the core subscriber of this service has a request.

    Attributes:
        keeps: whether a stream keeps what is published now.
        problem: why not, or what clients will find amiss; empty when all is well.
        stream: that is read.
    """

    def __init__(
        self, config: BridgeConfig, nats: NatsConfig, desk: Desk, tell: Publish, in_hand: Callable[[Request], bool]
    ) -> None:
        self._config = config
        self._nats = nats
        self._desk = desk
        self._tell = tell
        self._in_hand = in_hand
        self.keeps = False
        self.problem = ""
        self.stream = ""

    async def run(self, js: JetStreamContext) -> None:
        """Read until cancelled; the stream may come and go."""
        while True:
            try:
                await self._read(js)
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                self._say(f"requests are not kept while no service runs: {error or type(error).__name__}")
            finally:
                self.keeps = False
            await asyncio.sleep(RETRY_S)

    async def _read(self, js: JetStreamContext) -> None:
        self.stream = await self._bind(js)
        subscription = await js.pull_subscribe_bind(self._config.queue, stream=self.stream)
        try:
            self.keeps = True
            loop = asyncio.get_running_loop()
            look = loop.time() + LOOK_S
            while True:
                try:
                    messages = await subscription.fetch(BATCH, timeout=FETCH_S)
                except TimeoutError:
                    messages = []
                await asyncio.gather(*(self._handle(message) for message in messages))
                if loop.time() > look:  # a fetch from a stream that is gone looks like one from an empty stream
                    await js.consumer_info(self.stream, self._config.queue)
                    look = loop.time() + LOOK_S
        finally:
            self.keeps = False
            await subscription.unsubscribe()

    async def _bind(self, js: JetStreamContext) -> str:
        """Make sure of the stream and of our consumer.

        Returns:
            The stream's name.
        """
        config, wanted = self._config, ConsumerConfig(
            durable_name=self._config.queue,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,  # a request is never given up in silence
            max_ack_pending=MAX_PENDING,
            filter_subject=self._config.subject,
        )  # fmt: skip
        info = await stream_of(js, config.subject)
        if info is None:
            info = await js.add_stream(
                StreamConfig(
                    name=config.stream,
                    description="Requests of the pipeline bridge that no service has answered yet",
                    subjects=[config.subject],
                    retention=RetentionPolicy.WORK_QUEUE,
                    no_ack=True,
                    max_msgs=config.max_kept,
                    max_age=self._nats.stream_max_age,
                    num_replicas=self._nats.stream_replicas,
                )
            )
            log.info("stream %s keeps requests on %s while no service runs", config.stream, config.subject)
        name = info.config.name or config.stream
        retention = info.config.retention
        if retention != RetentionPolicy.WORK_QUEUE:  # what others have answered before our time is not ours
            wanted = wanted.evolve(deliver_policy=DeliverPolicy.NEW)
        try:
            known = await js.consumer_info(name, config.queue)
            wanted = wanted.evolve(deliver_policy=known.config.deliver_policy)  # which cannot be changed
        except NotFoundError:
            pass
        await js.add_consumer(name, wanted)
        self._say("" if info.config.no_ack else "; ".join(acknowledging(name, config.subject)))
        return name

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("bridge on %s: %s", self._config.subject, problem)
        self.problem = problem

    async def _handle(self, message: Msg) -> None:
        place = message.metadata
        sent = place.timestamp or datetime.now(UTC)
        age = datetime.now(UTC) - sent
        request = self._desk.read(message.data)
        grace = self._config.grace
        if (place.num_delivered <= 1 and age < LONG_AGO) or self._in_hand(request):
            await message.nak(delay=grace)  # it is the core subscribers', of any service
            return
        mail = Mail(message.subject, message.data, dict(message.headers or {}), sent, place.num_delivered)
        try:
            async with asyncio.timeout(TRY_S) as limit:
                if not await self._desk.answered(request, mail):
                    tell = _unhurried(self._publish, limit)
                    await self._answer(request, mail, tell, too_old=age.total_seconds() > self._config.max_age)
            await message.ack()
        except (MetaError, TimeoutError) as error:
            log.warning("request %r on stream %s waits: %s", request.request_id, self.stream, error)
            await message.nak(delay=min(SLOWEST_S, grace * place.num_delivered))

    async def _answer(self, request: Request, mail: Mail, tell: Tell, *, too_old: bool) -> None:
        if not too_old:
            await self._desk.answer(request, mail, tell, late=True)
            return
        error = InvalidInput(
            f"the request is of {mail.sent:%Y-%m-%d %H:%M} UTC and was not seen before; it is too old to be started",
            hint="send it again",
        )
        await self._desk.refuse(request, mail, error, tell)

    async def _publish(self, answer: Answer) -> None:
        await self._tell(answer, "")  # a stream keeps no reply subject


def _unhurried(tell: Tell, limit: asyncio.Timeout) -> Tell:
    """Once something has been told, the rest of the try has no limit: it writes down that it was told."""

    async def telling(answer: Answer) -> None:
        limit.reschedule(None)
        await tell(answer)

    return telling
