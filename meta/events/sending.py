"""Sends the events of one run, one after the other: to JetStream, and to where replies were asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from meta.events import metrics
from meta.events.formats import FORMATS
from meta.events.metrics import Failure
from meta.events.stream import is_forever
from meta.store.envelope import CONTENT_TYPE, payload
from meta.store.event_tables import OutboxRow, ReplyRow
from meta.store.outgoing import without
from workflows.values import JsonObject

log = logging.getLogger(__name__)

TRIES = 3
"""How often JetStream may refuse one event for good before it is set aside."""

HEADROOM = 2048
"""Bytes of a message's headers, which count against the server's `max_payload`."""

_LARGE = ("inputs", "outputs", "parameters", "artifacts", "prompt", "failed_nodes", "message")
_LOST = (NatsError, OSError, TimeoutError, ValueError)  # ValueError: an answer that is no JSON


@dataclass
class Sent:
    """How far the events of a run came.

    Attributes:
        seqs: those that need not be sent again.
        failure: why the next one was not sent; None: there is none.
        stream_missing: no stream took it.
    """

    seqs: list[int] = field(default_factory=list[int])
    failure: Exception | None = None
    stream_missing: bool = False


class Sender:
    """Sends over one connection.

    Args:
        client: the connection.
        js: its JetStream.
        may: whether this process may still send.
    """

    def __init__(self, client: Client, js: JetStreamContext, may: Callable[[], bool]) -> None:
        self._client = client
        self._js = js
        self._may = may

    async def send(self, rows: Sequence[OutboxRow], replies: Sequence[ReplyRow], tries: int) -> Sent:
        """Send events of one run in order, up to the first that fails.

        Args:
            rows: the run's oldest unsent events.
            replies: where else they go.
            tries: how often the first of them has failed before.
        """
        sent = Sent()
        for row in rows:
            if not self._may():
                break
            try:
                await self._publish(row, tries)
            except _LOST as error:
                sent.failure, sent.stream_missing = error, isinstance(error, NoStreamResponseError)
                break
            for reply in replies:
                await self._reply(row, reply)
            assert row.seq is not None  # read from the database
            sent.seqs.append(row.seq)
            tries = 0
        if replies and sent.seqs:
            try:
                await self._client.flush()
            except _LOST as error:  # whether the replies have arrived is not known: all is sent again
                return Sent(failure=error)
        return sent

    async def _publish(self, row: OutboxRow, tries: int) -> None:
        data = payload(row.event)
        if tries or len(data) + HEADROOM > self._client.max_payload:
            data = payload(shortened(row.event))
        headers = {"Nats-Msg-Id": row.event_id, "Content-Type": CONTENT_TYPE}
        try:
            if len(data) + HEADROOM > self._client.max_payload:  # else the server would end the connection
                raise MaxPayloadError
            await self._js.publish(row.subject, data, headers=headers)
        except MaxPayloadError as error:
            self._set_aside(row, f"{len(data)} bytes: {error}")
        except APIError as error:
            if not is_forever(error) or tries + 1 < TRIES:
                raise
            self._set_aside(row, str(error))

    def _set_aside(self, row: OutboxRow, reason: str) -> None:
        metrics.failed(Failure.SET_ASIDE)
        log.error("event %s is not sent, NATS never takes it: %s", row.event_id, reason)

    async def _reply(self, row: OutboxRow, reply: ReplyRow) -> None:
        """Tell one more subject, if its format has a word for this event. A reply that cannot be sent is dropped."""
        try:
            data = FORMATS[reply.format](row.event, reply.context)
            if data is None:
                return
            headers = None
            if reply.format == "cloudevents":  # an id of its own: the subject may be one of a stream
                headers = {"Nats-Msg-Id": f"{row.event_id}@{reply.subject}", "Content-Type": CONTENT_TYPE}
            if len(data) + HEADROOM > self._client.max_payload:
                raise MaxPayloadError
            await self._client.publish(reply.subject, data, headers=headers)
        except Exception as error:  # whatever a request has brought along must not stop the run's events
            metrics.failed(Failure.REPLY)
            log.warning("event %s is not told on %s: %r", row.event_id, reply.subject, error)


def shortened(event: JsonObject) -> JsonObject:
    """An event without what can be large in it."""
    short: JsonObject = {"data": without(cast(JsonObject, event["data"]), _LARGE)}
    return event | short
