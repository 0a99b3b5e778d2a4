"""Messages on `meta.trigger.<workflow>`, which no trigger of a definition stands behind."""

from __future__ import annotations

import json
from typing import cast

import pytest
from nats.js import JetStreamContext

from meta.api.starter import Starter
from meta.triggers.names import DEAD_STREAM, STREAM
from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, events, listening, publish
from workflows.errors import ServiceUnavailable
from workflows.outcome import RunState


@pytest.fixture(autouse=True)
async def published(rig: Rig) -> None:
    await publish(rig)


async def test_a_message_starts_the_published_chain_with_its_inputs(rig: Rig, js: JetStreamContext) -> None:
    await rig.work()
    await js.publish("meta.trigger.chain", b'{"rate": 3}')
    [event] = await events(rig, 1)
    assert event.outcome == "started"
    assert event.run_id is not None
    async with rig.client() as client:
        run = await client.wait(event.run_id)
    assert (run.state, run.trigger, run.outputs) == (RunState.SUCCEEDED, "nats", {"rate": 3.0})
    known = await rig.store.runs.get(run.id)
    assert known.cause is not None and known.cause.at is not None and known.started_at is not None
    assert (known.cause.kind, known.cause.name) == ("nats", "process meta.trigger.chain")
    assert known.cause.at <= known.started_at
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
    await listening(rig)
    ack = await js.publish("meta.trigger.chain", b'{"rate": 3}', headers=headers)
    assert not ack.duplicate
    await drained(js)
    async with rig.client() as client:
        assert [run.id for run in (await client.list()).runs] == [event.run_id]


async def test_two_messages_without_identity_start_two_runs(rig: Rig, js: JetStreamContext) -> None:
    for _ in range(2):
        await js.publish("meta.trigger.chain", b"{}")
    runs = {event.run_id for event in await events(rig, 2)}
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("subject", "data", "reason"),
    [
        ("chian", b"{}", ("NOT_FOUND", "did you mean 'chain'")),
        ("chain", b"{not json", ("EVENT_MALFORMED", "is no JSON")),
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


async def test_while_temporal_is_down_messages_wait(
    rig: Rig, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    original = Starter.start

    async def down(self: Starter, **wanted: object) -> object:
        nonlocal asked
        asked += 1
        if asked <= 2:
            raise ServiceUnavailable("Temporal does not answer")
        return await original(self, **wanted)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Starter, "start", down)
    await js.publish("meta.trigger.chain", b"{}")
    [event] = await ended(rig, 1)
    assert (event.outcome, event.deliveries, asked) == ("started", 1, 3)
    await drained(js)
