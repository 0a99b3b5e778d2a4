from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import cast

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from temporalio.client import Client

from meta.store.event_tables import TriggerEventRow
from meta.triggers.nats import CONSUMER, DEAD_STREAM, STREAM
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from workflows.outcome import RunState


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    async with make_rig(temporal, tmp_path, nats.url) as made:
        await made.work()
        assert made.service.triggers is not None
        async with asyncio.timeout(15), made.client() as client:
            await client.publish(made.chain())
            await made.service.triggers.ready.wait()
        yield made


@pytest.fixture
async def js(nats: NatsServer) -> AsyncGenerator[JetStreamContext]:
    connection = await nats_client.connect(nats.url)
    yield connection.jetstream()
    await connection.close()


async def eventually(probe: Callable[[], Awaitable[bool]], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not await probe():
            await asyncio.sleep(0.05)


async def events(rig: Rig, count: int) -> list[TriggerEventRow]:
    async def probe() -> bool:
        return len(await rig.store.triggers.list()) >= count

    await eventually(probe)
    return await rig.store.triggers.list()


async def drained(js: JetStreamContext) -> None:
    """Every message is acknowledged or terminated."""

    async def probe() -> bool:
        info = await js.consumer_info(STREAM, CONSUMER)
        return not info.num_pending and not info.num_ack_pending

    await eventually(probe)


async def test_a_message_starts_the_published_chain_with_its_inputs(rig: Rig, js: JetStreamContext) -> None:
    await js.publish("meta.trigger.chain", b'{"rate": 3}')
    [event] = await events(rig, 1)
    assert event.outcome == "started"
    assert event.run_id is not None
    async with rig.client() as client:
        run = await client.wait(event.run_id)
    assert (run.state, run.trigger, run.outputs) == (RunState.SUCCEEDED, "nats", {"rate": 3.0})
    await drained(js)


async def test_one_identity_starts_one_run_however_often_it_is_published(rig: Rig, js: JetStreamContext) -> None:
    headers = {"Nats-Msg-Id": "dataset-7"}
    await js.publish("meta.trigger.chain", b'{"rate": 3}', headers=headers)
    [event] = await events(rig, 1)
    # beyond the server's own window of deduplication: the stream is purged of its memory by making it anew
    await drained(js)
    config = (await js.stream_info(STREAM)).config
    await js.delete_stream(STREAM)
    await js.add_stream(config)
    await rig.restart()
    assert rig.service.triggers is not None
    async with asyncio.timeout(30):
        await rig.service.triggers.ready.wait()
    ack = await js.publish("meta.trigger.chain", b'{"rate": 3}', headers=headers)
    assert not ack.duplicate
    await drained(js)
    async with rig.client() as client:
        assert [run.id for run in (await client.list()).runs] == [event.run_id]


async def test_a_redelivery_after_a_lost_acknowledgement_finds_the_same_run(rig: Rig, js: JetStreamContext) -> None:
    """The same message, handled twice, as when the service dies between Temporal's answer and the acknowledgement."""
    from meta.triggers import nats as triggers

    assert rig.service.triggers is not None
    lost = 0
    original = triggers.Msg.ack_sync

    async def lose_first(self: triggers.Msg, timeout: float = 1.0) -> triggers.Msg:
        nonlocal lost
        lost += 1
        if lost <= 2:
            await self.nak()  # delivered again at once
            raise TimeoutError("the acknowledgement was lost")
        return await original(self, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triggers.Msg, "ack_sync", lose_first)
        patch.setattr(triggers, "RECONNECT_S", 0.1)
        await js.publish("meta.trigger.chain", b"{}")
        await eventually(lambda: _true(lost >= 3))
        await drained(js)
    async with rig.client() as client:
        assert len((await client.list()).runs) == 1
    assert len(await rig.store.triggers.list()) == 1


async def _true(value: bool) -> bool:
    return value


async def test_two_messages_without_identity_start_two_runs(rig: Rig, js: JetStreamContext) -> None:
    for _ in range(2):
        await js.publish("meta.trigger.chain", b"{}")
    runs = {event.run_id for event in await events(rig, 2)}
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("subject", "data", "reason"),
    [
        ("chian", b"{}", ("NOT_FOUND", "did you mean 'chain'")),
        ("chain", b"{not json", ("INPUTS_INVALID", "is no JSON")),
        ("chain", b'{"rate": "fast"}', ("INPUTS_INVALID", "expected a number")),
    ],
)
async def test_a_message_that_can_never_start_a_run_goes_to_the_dead_letters(
    rig: Rig, js: JetStreamContext, subject: str, data: bytes, reason: tuple[str, str]
) -> None:
    code, words = reason
    await js.publish(f"meta.trigger.{subject}", data, headers={"Nats-Msg-Id": "poison", "x-own": "kept"})
    [event] = await events(rig, 1)
    assert (event.outcome, event.run_id) == ("dead", None)
    await drained(js)
    dead = await js.get_last_msg(DEAD_STREAM, f"meta.dead.{subject}")
    assert dead.data == data
    headers = cast(dict[str, str], dead.headers)
    assert headers["Meta-Reason-Code"] == code
    assert words in json.loads(headers["Meta-Reason"])
    assert headers["x-own"] == "kept"
    async with rig.client() as client:
        assert (await client.list()).runs == []


async def test_while_temporal_is_down_messages_wait(rig: Rig, js: JetStreamContext) -> None:
    from meta.api.starter import Starter
    from workflows.errors import ServiceUnavailable

    asked = 0
    original = Starter.start

    async def down(self: Starter, **wanted: object) -> object:
        nonlocal asked
        asked += 1
        if asked <= 2:
            raise ServiceUnavailable("Temporal does not answer")
        return await original(self, **wanted)  # pyright: ignore[reportArgumentType]

    assert rig.service.triggers is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Starter, "start", down)
        patch.setattr(rig.service.triggers, "_nak_delay_s", 0.2)
        await js.publish("meta.trigger.chain", b"{}")
        [event] = await events(rig, 1)
    assert (event.outcome, asked) == ("started", 3)
    await drained(js)


async def test_the_service_outlives_nats_and_reads_what_was_published_meanwhile(
    rig: Rig, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await nats.stop()
    async with rig.client() as client:
        assert (await client.workflows())[0].name == "chain", "the API answers without NATS"
    await nats.start()
    connection = await nats_client.connect(nats.url)
    await connection.jetstream().publish("meta.trigger.chain", b"{}")
    [event] = await events(rig, 1)
    assert event.outcome == "started"
    await connection.close()
