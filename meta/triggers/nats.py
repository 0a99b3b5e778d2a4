"""A NATS message starts a meta-run once, however often it is delivered.

JetStream delivers at least once, and its own deduplication holds for minutes. So the run's id is made from the
message's identity, Temporal refuses a second run of that id, and the message is acknowledged (with the server's
confirmation) only after Temporal has accepted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import Error as JetStreamError

from meta.api.convert import from_json_object
from meta.api.starter import Started, Starter
from meta.config import NatsConfig
from meta.nats import connect, describe
from meta.nats_login import shown
from meta.store import Store
from meta.store.triggers import EventRecord
from workflows.errors import MetaError

log = logging.getLogger(__name__)

STREAM = "META_TRIGGERS"
SUBJECT = "meta.trigger."
DEAD_STREAM = "META_DEAD"
DEAD_SUBJECT = "meta.dead."
CONSUMER = "meta-service"
BATCH = 16
ACK_WAIT_S = 30.0
NAK_DELAY_S = 5.0
DEAD_AGE_S = 30 * 24 * 3600.0
RECONNECT_S = 2.0
MAX_MESSAGE_ID = 400  # characters; what a publisher sends beyond is no identity


@dataclass(frozen=True, slots=True)
class Trigger:
    """A message, read: what it asks for and who it is.

    Attributes:
        event_id: the same on every delivery: the publisher's Nats-Msg-Id, else its place in the stream with the
            stream's creation time, for sequences begin again when a stream is made anew.
    """

    subject: str
    workflow: str
    event_id: str
    data: bytes


class NatsTriggers:
    """Consumes `meta.trigger.<workflow>`; runs inside the service, and any number of services share the consumer."""

    def __init__(self, config: NatsConfig, starter: Starter, store: Store, *, nak_delay_s: float = NAK_DELAY_S) -> None:
        self._config = config
        self._starter = starter
        self._store = store
        self._nak_delay_s = nak_delay_s
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Connect and consume until cancelled; NATS may come, go and lose its streams."""
        while True:
            try:
                await self._session()
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                log.warning("NATS at %s: %s; trying again", shown(self._config), describe(error))
            self.ready.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _session(self) -> None:
        client = await connect(self._config, "meta-service", self._tell)
        try:
            await self._consume(client)
        finally:
            await client.close()

    async def _tell(self, error: Exception) -> None:
        log.warning("NATS at %s: %s", shown(self._config), describe(error))

    async def _consume(self, client: Client) -> None:
        js = client.jetstream()
        created = await _ensure_streams(js)
        config = ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,  # a message is never given up in silence: it starts a run or goes to the dead letters
            max_ack_pending=1000,
        )
        subscription = await js.pull_subscribe(f"{SUBJECT}>", durable=CONSUMER, stream=STREAM, config=config)
        log.info("listening for messages on %s>", SUBJECT)
        self.ready.set()
        while True:
            try:
                messages = await subscription.fetch(BATCH, timeout=5)
            except TimeoutError:
                continue
            await asyncio.gather(*(self._handle(js, message, created) for message in messages))

    async def _handle(self, js: JetStreamContext, message: Msg, created: str) -> None:
        trigger = read(message, created)
        try:
            started = await self._start(trigger)
        except MetaError as error:
            if error.retryable:
                log.warning("message %s waits: %s", trigger.event_id, error)
                await message.nak(delay=self._nak_delay_s)
            else:
                await self._bury(js, message, trigger, error)
            return
        await self._record(trigger, "started", run_id=started.run_id)
        await message.ack_sync()
        log.info("message %s %s run %s", trigger.event_id, "started" if started.created else "repeats", started.run_id)

    async def _start(self, trigger: Trigger) -> Started:
        return await self._starter.start(
            workflow=trigger.workflow,
            inputs=from_json_object(trigger.data, "the message"),
            request_id=trigger.event_id,
            trigger="nats",
        )

    async def _bury(self, js: JetStreamContext, message: Msg, trigger: Trigger, error: MetaError) -> None:
        """Put a message that can never start a run where people find it, with the reason; then take it away."""
        log.warning("message %s is dead: %s", trigger.event_id, error)
        headers = dict(message.headers or {}) | {
            "Meta-Reason-Code": error.code,
            "Meta-Reason": json.dumps(str(error)),  # a header is one line
            "Meta-Subject": trigger.subject,
            "Meta-Event-Id": trigger.event_id,
            "Nats-Msg-Id": f"dead:{trigger.event_id}",
        }
        headers.pop("Nats-Expected-Stream", None)
        subject = DEAD_SUBJECT + message.subject.removeprefix(SUBJECT)
        await js.publish(subject, message.data, headers=headers)
        await self._record(trigger, "dead", reason=str(error))
        await message.term()

    async def _record(self, trigger: Trigger, outcome: str, *, run_id: str = "", reason: str = "") -> None:
        record = EventRecord(
            workflow=trigger.workflow, trigger="", identity=trigger.event_id, source="nats", subject=trigger.subject,
            outcome=outcome, run_id=run_id, reason=reason,
        )  # fmt: skip
        try:
            await self._store.triggers.put(record)
        except MetaError as error:  # the run has started, or the message is buried: the record is for people only
            log.warning("message %s was not recorded: %s", trigger.event_id, error)


def read(message: Msg, created: str) -> Trigger:
    """What a message asks for.

    Args:
        message: of the stream.
        created: creation time of the stream.
    """
    given = (message.headers or {}).get("Nats-Msg-Id", "")
    place = message.metadata
    own = f"{place.stream}:{created}:{place.sequence.stream}"
    event_id = f"nats:id:{given}" if 0 < len(given) <= MAX_MESSAGE_ID else f"nats:seq:{own}"
    return Trigger(message.subject, message.subject.removeprefix(SUBJECT), event_id, message.data)


async def _ensure_streams(js: JetStreamContext) -> str:
    """Make the streams where they are missing; what an administrator has set up stays as it is.

    Returns:
        Creation time of the trigger stream, from the server.
    """
    wanted = [
        StreamConfig(name=STREAM, subjects=[f"{SUBJECT}>"]),
        StreamConfig(name=DEAD_STREAM, subjects=[f"{DEAD_SUBJECT}>"], max_age=DEAD_AGE_S),
    ]
    for config in wanted:
        assert config.name is not None
        try:
            await js.stream_info(config.name)
        except JetStreamError:
            await js.add_stream(config)
    info = await js.stream_info(STREAM)
    return str(info.created)
