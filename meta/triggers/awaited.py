"""Messages that steps wait for, read from JetStream; implements `workers.ports.EventReader`.

Each wait has a consumer of its own at the server, without acknowledgements, which vanishes by itself. When it is gone
(the server was started again, another node leads) the wait makes another one, from the message after the last that it
has looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from meta.config import NatsConfig
from meta.nats import connect, describe
from meta.triggers.decode import decode, place_of
from meta.triggers.event import Event
from meta.triggers.jetstream import API_TIMEOUT_S, refusals
from meta.triggers.pull import Pull
from meta.triggers.streams import Bound, Streams
from workers.ports import Place
from workflows.errors import Conflict, EventMalformed, ExpressionFailed, InvalidInput, ServiceUnavailable
from workflows.kind_messages import AwaitEvent, EventArrived
from workflows.spec.subjects import subject_fault
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject

log = logging.getLogger(__name__)

BATCH = 100
"""Messages asked for at a time."""

SAID = 20
"""Skipped messages of one wait that the log names; a condition can fit none of a busy subject's."""

TICK_S = 1.0
VANISH_S = 300.0
"""A consumer that nobody has asked for so long is deleted by the server."""


class NatsEvents:
    """Reads messages for steps, over one connection of the worker process.

    Args:
        config: where NATS is.
    """

    def __init__(self, config: NatsConfig) -> None:
        self._config = config
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def first(
        self,
        wanted: AwaitEvent,
        fits: Callable[[JsonObject], bool],
        *,
        after: Place | None,
        read: Callable[[Place], None],
    ) -> EventArrived:
        """See `workers.ports.EventReader`."""
        what = f"waiting for a message on {wanted.subject}"
        if fault := subject_fault(wanted.subject, wildcards=True):
            raise InvalidInput(f"step '{wanted.key.step}', subject '{wanted.subject}': {fault}")
        skipped = 0
        with refusals(what):
            client = await self._connected()
            js = client.jetstream(timeout=API_TIMEOUT_S)
            place = await self._find(client, js, wanted)
            left_at = after if after is not None and (after.stream, after.created) == _stream(place) else None
            async with aclosing(self._messages(client, js, place, wanted, left_at)) as messages:
                async for message in messages:
                    sequence = message.metadata.sequence.stream
                    try:
                        event = self._event(message, place)
                        view = event.view()
                        if fits(view):
                            time = message.metadata.timestamp.astimezone(UTC)
                            return EventArrived(event=view, subject=event.subject, time=time, skipped=skipped)
                    except (EventMalformed, ExpressionFailed) as error:
                        skipped += 1
                        level = logging.WARNING if skipped <= SAID else logging.DEBUG
                        words = "%s: message %d of %s is skipped: %s"
                        log.log(level, words, what, sequence, place.stream, error.message)
                    read(Place(place.stream, place.created, sequence))
        raise ServiceUnavailable(f"{what}: stream {place.stream} was deleted, or made anew")

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or self._client.is_closed:

                async def heard(error: Exception) -> None:
                    log.warning("NATS: %s", describe(error))

                self._client = await connect(self._config, "meta-workflows waits", heard)
            return self._client

    async def _find(self, client: Client, js: JetStreamContext, wanted: AwaitEvent) -> Bound:
        """The stream that has the subject; made, as for triggers, unless the subject is of one run alone."""
        streams = Streams(client, js, self._config)
        if not wanted.make_stream and not wanted.stream:
            if (found := await streams.covering(wanted.subject)) is not None:
                return found
            raise Conflict(
                f"no stream has {wanted.subject}",
                hint="make one that has it and its like, as: nats stream add JOBS --subjects 'jobs.>'",
            )
        trigger = NatsTrigger(subject=wanted.subject, stream=wanted.stream or None)
        return await streams.find(wanted.workflow, trigger)

    def _event(self, message: Msg, place: Bound) -> Event:
        where = place_of(message, place.created)
        return decode(message.subject, message.data, message.headers, where, max_bytes=self._config.max_event)

    async def _messages(
        self, client: Client, js: JetStreamContext, place: Bound, wanted: AwaitEvent, after: Place | None
    ) -> AsyncGenerator[Msg]:
        """Every message since the beginning, once and in order, until the stream is another one."""
        last = after.sequence if after is not None else 0
        while True:
            consumer = await self._consumer(js, place, wanted, last)
            arrived: asyncio.Queue[Msg] = asyncio.Queue()
            pull = Pull(client, place.stream, consumer, arrived.put_nowait, lambda: None)
            await pull.open()
            try:
                while not pull.broken:
                    pull.check()
                    if not pull.outstanding and arrived.empty() and client.is_connected:
                        await pull.request(BATCH)
                    try:
                        message = await asyncio.wait_for(arrived.get(), TICK_S)
                    except TimeoutError:
                        continue
                    if (sequence := message.metadata.sequence.stream) > last:
                        yield message
                        last = sequence
            finally:
                await self._leave(js, place, consumer, pull)
            log.info("waiting for a message on %s: its consumer is gone (%s)", wanted.subject, pull.broken)
            found = await js.stream_info(place.stream)
            if str(found.created) != place.created:
                return

    async def _consumer(self, js: JetStreamContext, place: Bound, wanted: AwaitEvent, last: int) -> str:
        config = ConsumerConfig(
            description=f"step {wanted.key.step} of {wanted.key.meta_run}",
            filter_subject=wanted.subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=VANISH_S,
            mem_storage=True,
            num_replicas=1,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if last else DeliverPolicy.BY_START_TIME,
            opt_start_seq=last + 1 if last else None,
            opt_start_time=None if last else wanted.since.astimezone(UTC),
        )
        made = await js.add_consumer(place.stream, config)
        return made.name

    async def _leave(self, js: JetStreamContext, place: Bound, consumer: str, pull: Pull) -> None:
        """Listen no more; the consumer would vanish by itself, later."""
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                await pull.close()
                if not pull.broken:
                    await js.delete_consumer(place.stream, consumer)
        except (NatsError, OSError, TimeoutError) as error:
            log.info("consumer %s of %s: %s", consumer, place.stream, describe(error))


def _stream(place: Bound) -> tuple[str, str]:
    return place.stream, place.created
