"""What a plain client publishes, as a consumer of a real server gets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import nats as nats_client
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from meta.triggers.decode import Place, decode, place_of, undecoded
from tests.integration.service.servers import NatsServer
from tests.support.messages import ENVELOPE, MAX, ce_headers, encodings
from workflows.errors import EventMalformed
from workflows.values import JsonValue

VALUE: JsonValue = {"rows": 1200, "share": 0.5, "name": "naïve ✓", "tags": ["a", None, True]}


async def _stream(js: JetStreamContext) -> str:
    info = await js.add_stream(StreamConfig(name="DATA", subjects=["data.>"]))
    return str(info.created)


async def _pull(js: JetStreamContext, count: int) -> list[Msg]:
    subscription = await js.pull_subscribe("data.>", durable="reader", stream="DATA")
    messages = list[Msg]()
    while len(messages) < count:
        messages += await subscription.fetch(count - len(messages), timeout=10)
    return messages


async def test_every_encoding_of_a_plain_client_is_read(nats: NatsServer) -> None:
    connection = await nats_client.connect(nats.url)
    js = connection.jetstream()
    created = await _stream(js)
    sent = encodings(VALUE)
    for number, (data, headers) in enumerate(sent.values()):
        await js.publish(f"data.set.{number}", data, headers=headers or None)
    messages = await _pull(js, len(sent))
    for number, (name, message) in enumerate(zip(sent, messages, strict=True), 1):
        place = place_of(message, created)
        assert (place.stream, place.sequence, place.deliveries) == ("DATA", number, 1)
        assert abs(place.time - datetime.now(UTC)) < timedelta(minutes=5)
        event = decode(message.subject, message.data, message.headers, place, max_bytes=MAX)
        assert event.data == VALUE, name
        cloud = "CloudEvent" in name
        assert event.identity == ("ce:/lake:e-1" if cloud else f"nats:seq:DATA:{created}:{number}"), name
        assert event.view()["tokens"] == ["data", "set", str(number - 1)]
        await message.ack()
    await connection.close()


async def test_headers_come_over_as_they_were_published(nats: NatsServer) -> None:
    connection = await nats_client.connect(nats.url)
    js = connection.jetstream()
    created = await _stream(js)
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    own = {"Nats-Msg-Id": "batch 1: ü", "TraceParent": parent, "x-Own": "ü"}
    await js.publish("data.a", b"{}", headers=own)
    await js.publish("data.b", b"{}", headers=ce_headers({**ENVELOPE, "id": "ü 1", "source": "urn:lake"}))
    first, second = await _pull(js, 2)
    event = decode(first.subject, first.data, first.headers, place_of(first, created), max_bytes=MAX)
    assert (event.identity, event.id) == ("nats:id:batch 1: ü", "batch 1: ü")
    assert event.headers == own
    assert event.trace == {"traceparent": parent}
    event = decode(second.subject, second.data, second.headers, place_of(second, created), max_bytes=MAX)
    assert event.identity == "ce:urn:lake:ü 1"
    await connection.close()


async def test_a_message_that_cannot_be_read_keeps_its_identity_over_deliveries(nats: NatsServer) -> None:
    connection = await nats_client.connect(nats.url)
    js = connection.jetstream()
    created = await _stream(js)
    await js.publish("data.a", b"{broken")
    seen = list[tuple[str, int]]()
    for _ in range(2):
        [message] = await _pull(js, 1)
        place: Place = place_of(message, created)
        with pytest.raises(EventMalformed, match="is no JSON"):
            decode(message.subject, message.data, message.headers, place, max_bytes=MAX)
        event = undecoded(message.subject, message.data, message.headers, place)
        assert event.raw == b"{broken"
        seen.append((event.identity, event.deliveries))
        await message.nak()
    identity = f"nats:seq:DATA:{created}:1"
    assert seen == [(identity, 1), (identity, 2)]
    await connection.close()
