"""Streams and consumers at NATS: found, bound, made, and made again when somebody takes them away."""

from __future__ import annotations

import time
from pathlib import Path

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from temporalio.client import Client

from meta.triggers.names import CONSUMER, STREAM
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from tests.integration.triggers.support import drained, ended, eventually, listening, nudge, publish, standing
from tests.support.ports import free_port


async def test_a_stream_that_covers_the_subject_is_bound_and_others_are_left_alone(
    rig: Rig, js: JetStreamContext
) -> None:
    await js.add_stream(name="WIDE", subjects=["x.y", "ml.>"])
    before = (await js.stream_info("WIDE")).config
    rows = await publish(rig, "{subject: 'ml.*.ready', name: bound}", "{subject: b.c, name: named, stream: MINE}")
    assert {row.name: row.stream for row in rows} == {"bound": "WIDE", "named": "MINE"}
    assert (await js.stream_info("WIDE")).config == before
    made = (await js.stream_info("MINE")).config
    assert (made.subjects, made.max_age, (made.metadata or {})["made-by"]) == (["b.c"], 7 * 24 * 3600, "meta-workflows")


async def test_streams_with_a_part_of_the_subject_are_named_with_the_mend(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(name="PART", subjects=["ml.a.ready"])
    [row] = await publish(rig, "{subject: 'ml.*.ready'}", state="failing")
    assert "PART (ml.a.ready)" in row.message
    assert "narrow" in row.hint
    await js.delete_stream("PART")
    nudge(rig)
    [row] = await standing(rig.store, 1)
    assert (row.message, row.hint) == ("", "")


async def test_a_named_stream_that_has_nothing_of_the_subject_is_told_of(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(name="OTHER", subjects=["z"])
    [row] = await publish(rig, "{subject: a.b, stream: OTHER}", state="failing")
    assert row.message == "stream OTHER has z, nothing of a.b"


async def test_a_consumer_of_somebody_else_is_not_touched(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(name="S", subjects=["a.>"])
    await js.add_consumer("S", ConsumerConfig(durable_name="meta-chain-one", filter_subject="a.z"))
    [row] = await publish(rig, "{subject: a.b, name: one}", state="failing")
    assert "of somebody else" in row.message
    assert (await js.consumer_info("S", "meta-chain-one")).config.filter_subject == "a.z"
    await js.delete_consumer("S", "meta-chain-one")
    nudge(rig)
    await standing(rig.store, 1)


async def test_a_stream_deleted_and_made_again_is_read_from_its_beginning_once(rig: Rig, js: JetStreamContext) -> None:
    """Its sequences begin again, and its messages are others all the same."""
    [row] = await publish(rig, "{subject: a.b}")
    await js.publish("a.b", b"{}")
    await ended(rig, 1)
    await drained(js, row.stream, row.consumer)
    config = (await js.stream_info(row.stream)).config
    for _ in range(2):
        await js.delete_stream(row.stream)
        await js.add_stream(config)
        await js.publish("a.b", b"{}")
    found = await ended(rig, 2)

    async def consumed() -> bool:
        info = await js.stream_info(row.stream)
        return info.state.consumer_count == 1

    await eventually(consumed)
    await drained(js, row.stream, row.consumer)
    assert len({event.run_id for event in found}) == 2, (
        "of the two that were made after the first, one went with its stream"
    )
    assert (await rig.store.trigger_states.list())[0].since == row.since


@pytest.mark.parametrize("whose", ["trigger", "service"])
async def test_a_consumer_deleted_under_us_is_made_again_within_seconds(
    rig: Rig, js: JetStreamContext, whose: str
) -> None:
    [row] = await publish(rig, "{subject: a.b}")
    await js.publish("a.b", b"{}", headers={"Nats-Msg-Id": "first"})
    await ended(rig, 1)
    stream, consumer, subject = (
        (row.stream, row.consumer, "a.b") if whose == "trigger" else (STREAM, CONSUMER, "meta.trigger.chain")
    )
    await js.delete_consumer(stream, consumer)
    begun = time.monotonic()
    await js.publish(subject, b"{}", headers={"Nats-Msg-Id": "second"})
    found = await ended(rig, 2)
    assert time.monotonic() - begun < 15
    assert {event.identity for event in found} == {"nats:id:first", "nats:id:second"}
    await drained(js, stream, consumer)
    async with rig.client() as client:
        assert len((await client.list()).runs) == 2


async def test_a_trigger_says_that_nats_is_away_and_comes_back_by_itself(rig: Rig, nats: NatsServer) -> None:
    [row] = await publish(rig, "{subject: a.b}")
    await nats.stop()
    async with rig.client() as client:
        assert (await client.workflows())[0].name == "chain", "the API answers without NATS"
    await nats.start()
    connection = await nats_client.connect(nats.url)
    await connection.jetstream().publish("a.b", b"{}")
    await ended(rig, 1)
    await drained(connection.jetstream(), row.stream, row.consumer)
    await connection.close()


async def test_a_service_starts_without_nats_and_its_triggers_say_so(temporal: Client, tmp_path: Path) -> None:
    port = free_port()
    async with make_rig(temporal, tmp_path, f"nats://user:secret@127.0.0.1:{port}") as rig:
        [row] = await publish(rig, "{subject: a.b}", state="failing")
        assert "does not answer" in row.message
        assert "secret" not in row.message + row.hint
        server = NatsServer(tmp_path / "nats", url=f"nats://127.0.0.1:{port}")
        await server.start()
        await standing(rig.store, 1)
        await listening(rig)
        await server.stop()


async def test_a_server_without_jetstream_is_told_of(temporal: Client, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", jetstream=False)
    await server.start()
    async with make_rig(temporal, tmp_path, server.url) as rig:
        [row] = await publish(rig, "{subject: a.b}", state="failing")
        assert "JetStream is not switched on" in row.message
        assert "-js" in row.hint
    await server.stop()


PERMISSIONS = """
authorization { users = [
  {user: meta, password: secret, permissions: {publish: {deny: ["$JS.API.CONSUMER.CREATE.LOCKED.>"]}}}
] }
"""


async def test_a_right_that_the_service_lacks_is_told_of(temporal: Client, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", settings=PERMISSIONS)
    await server.start()
    url = server.url.replace("nats://", "nats://meta:secret@")
    async with make_rig(temporal, tmp_path, url) as rig:
        await listening(rig)
        [row] = await publish(rig, "{subject: a.b, stream: LOCKED}", state="failing")
        assert "we may not publish to $js.api.consumer.create.locked" in row.message
    await server.stop()
