"""Messages that do not start a run at the first try, or never."""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast

import pytest
from nats.js import JetStreamContext

from meta.api.starter import Started, Starter
from meta.service import Service
from meta.store.triggers import TriggerEvents
from meta.triggers.handling import SILENT_DEATHS
from meta.triggers.names import DEAD_STREAM
from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, events, eventually, publish, standing
from workflows.errors import ServiceUnavailable

_start = Starter.start


class Starts:
    """What comes of asking for a start: an error, or the real thing."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.asked: list[float] = []
        self.hold: asyncio.Event | None = None

        async def start(starter: Starter, **wanted: object) -> Started:
            self.asked.append(time.monotonic())
            if self.hold is not None:
                await self.hold.wait()
            if self.error is not None:
                raise self.error
            return await _start(starter, **wanted)  # pyright: ignore[reportArgumentType]

        patch.setattr(Starter, "start", start)

    async def until(self, count: int) -> None:
        async def probe() -> bool:
            return len(self.asked) >= count

        await eventually(probe)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(monkeypatch)


async def test_a_message_that_fails_each_time_is_put_aside_after_max_deliver_with_the_reason_and_its_bytes(
    rig: Rig, js: JetStreamContext, starts: Starts
) -> None:
    [row] = await publish(rig, "{subject: a.b, name: one, maxDeliver: 3, backoff: [200ms, 400ms]}")
    starts.error = RuntimeError("a bug of ours")
    await js.publish(
        "a.b", b'{"x": 1}', headers={"Nats-Msg-Id": "poison", "x-own": "kept", "Nats-Expected-Stream": row.stream}
    )
    [event] = await events(rig, 1)
    assert (event.outcome, event.deliveries, event.data) == ("dead", 3, b'{"x": 1}')
    assert "RuntimeError: a bug of ours" in event.reason
    first, second, third = starts.asked
    assert second - first >= 0.2
    assert third - second >= 0.4
    await drained(js, row.stream, row.consumer)
    dead = await js.get_last_msg(DEAD_STREAM, "meta.dead.chain")
    headers = cast(dict[str, str], dead.headers)
    assert dead.data == b'{"x": 1}'
    assert json.loads(headers["Meta-Reason"]).startswith("RuntimeError: a bug of ours")
    assert (headers["Meta-Trigger"], headers["Meta-Subject"], headers["x-own"]) == ("one", "a.b", "kept")
    assert "Nats-Expected-Stream" not in headers


async def test_an_outage_much_longer_than_the_servers_patience_buries_nothing(
    rig: Rig, js: JetStreamContext, starts: Starts
) -> None:
    [row] = await publish(rig, "{subject: a.b, ackWait: 1s, maxDeliver: 1}")
    starts.error = ServiceUnavailable("Temporal does not answer")
    await js.publish("a.b", b"{}")
    begun = time.monotonic()

    async def long_enough() -> bool:
        return bool(starts.asked) and time.monotonic() - begun > 4

    await eventually(long_enough)
    info = await js.consumer_info(row.stream, row.consumer)
    assert (info.num_ack_pending, info.num_redelivered) == (1, 0), "it was held, and never delivered again"
    starts.error = None
    [event] = await events(rig, 1)
    assert (event.outcome, event.deliveries) == ("started", 1)
    await drained(js, row.stream, row.consumer)


async def test_in_an_outage_no_more_messages_are_fetched(rig: Rig, js: JetStreamContext, starts: Starts) -> None:
    [row] = await publish(rig, "{subject: a.b}")
    starts.error = ServiceUnavailable("Temporal does not answer")
    for _ in range(50):
        await js.publish("a.b", b"{}")
    await starts.until(3)
    assert ((await js.consumer_info(row.stream, row.consumer)).num_pending or 0) > 0, "others may be better off"
    starts.error = None
    await ended(rig, 50)
    await drained(js, row.stream, row.consumer)


async def test_when_the_store_does_not_take_a_dead_message_it_is_kept_until_it_does(
    rig: Rig, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = await publish(rig, "{subject: a.b, backoff: [100ms]}")
    tries = 0
    original = TriggerEvents.put

    async def put(self: TriggerEvents, record: object) -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise ServiceUnavailable("the store does not answer")
        await original(self, record)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(TriggerEvents, "put", put)
    await js.publish("a.b", b"\xc1 no JSON")
    [event] = await events(rig, 1)
    assert (event.outcome, event.data) == ("dead", b"\xc1 no JSON")
    await drained(js, row.stream, row.consumer)
    assert (await js.stream_info(DEAD_STREAM)).state.messages == 1


async def test_a_message_as_large_as_nats_takes_can_be_dead_too(rig: Rig, js: JetStreamContext) -> None:
    """With the reason it would be larger than what can be published; the store has all of it."""
    [row] = await publish(rig, "{subject: a.b}")
    data = b"x" * (1 << 20)
    await js.publish("a.b", data)
    [event] = await events(rig, 1)
    assert (event.outcome, event.data) == ("dead", data)
    await drained(js, row.stream, row.consumer)
    dead = await js.get_last_msg(DEAD_STREAM, "meta.dead.chain")
    assert (dead.headers or {})["Meta-Left-Out"] == "headers, data"


async def test_a_service_that_stops_hands_over_what_has_not_started(
    rig: Rig, js: JetStreamContext, starts: Starts
) -> None:
    """At once, not after the server's patience of half a minute."""
    [row] = await publish(rig, "{subject: a.b}")
    starts.hold = asyncio.Event()
    for _ in range(5):
        await js.publish("a.b", b"{}")
    await starts.until(5)
    starts.hold, held = None, starts.hold
    async with Service(rig.config) as second:
        await rig.service.__aexit__(None, None, None)
        begun = time.monotonic()
        found = await standing(second.store, 1)

        async def all_started() -> bool:
            return len(await second.store.triggers.list()) == 5

        await eventually(all_started)
        assert time.monotonic() - begun < 15
        await drained(js, row.stream, row.consumer)
        assert found[0].consumer == row.consumer
    rig.service = await Service(rig.config).__aenter__()
    assert not held.is_set()
    assert {event.deliveries for event in await rig.store.triggers.list()} == {2}


@pytest.mark.parametrize("survived", [False, True])
async def test_a_message_that_may_be_deadly_is_handled_alone_and_put_aside_when_the_service_dies_of_it(
    rig: Rig, js: JetStreamContext, starts: Starts, monkeypatch: pytest.MonkeyPatch, survived: bool
) -> None:
    """Deliveries that nobody said a word about make it a suspect; a service that stops in good order does not."""
    [row] = await publish(rig, "{subject: a.b, maxDeliver: 1}")
    await rig.service.__aexit__(None, None, None)
    await js.publish("a.b", b"{}")
    subscription = await js.pull_subscribe_bind(durable=row.consumer, stream=row.stream)
    for _ in range(1 + SILENT_DEATHS):
        [message] = await subscription.fetch(1)
        await message.nak()
    await subscription.unsubscribe()
    starts.hold = asyncio.Event()
    rig.service = await Service(rig.config).__aenter__()
    await starts.until(1)
    await js.publish("a.b", b"{}")

    async def both_taken() -> bool:
        return (await js.consumer_info(row.stream, row.consumer)).num_ack_pending == 2

    await eventually(both_taken)
    assert len(starts.asked) == 1, "nothing is beside it"
    with monkeypatch.context() as patch:
        if not survived:
            patch.setattr(TriggerEvents, "unmark", _nothing)
        await rig.service.__aexit__(None, None, None)
    starts.asked.clear()
    starts.hold = None
    rig.service = await Service(rig.config).__aenter__()
    await drained(js, row.stream, row.consumer)
    found = {event.outcome: event for event in await events(rig, 2)}
    if survived:
        assert (found.keys(), len(starts.asked)) == ({"started"}, 2)
    else:
        assert (found.keys(), len(starts.asked)) == ({"started", "dead"}, 1)
        assert "no service has said how it ended" in found["dead"].reason


async def _nothing(*_: object) -> None:
    """As a service that has died."""
