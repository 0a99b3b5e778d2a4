"""Clients of a bridge, served: what they ask for and what they are told."""

from __future__ import annotations

import json
from typing import Any

import nats as nats_client
import ormsgpack
import pytest

from tests.integration.bridge.client import BridgeClient, asking, bridge_client
from tests.integration.bridge.conftest import eventually, run_of, runs
from tests.integration.service.servers import CHAIN, NatsServer, Rig

FIELDS = {"request_id", "status", "pipeline", "engine", "run_id", "message", "timestamp"}


async def test_a_published_request_starts_a_run_and_its_status_subject_says_so(rig: Rig, client: BridgeClient) -> None:
    await client.publish(asking("r-1", rate="0.5", note=7))
    status = await client.status("r-1", "submitted")
    assert set(status) == FIELDS
    assert (status["request_id"], status["pipeline"], status["engine"]) == ("r-1", "training", "argo")
    run = await run_of(rig, status["run_id"])
    assert (run.trigger, run.inputs) == ("bridge", {"rate": 0.5, "note": "7"})


async def test_a_request_is_answered_on_its_reply_subject_too(rig: Rig, client: BridgeClient) -> None:
    answer = await client.request(asking("r-2", "kf-training", learningRate=0.25))
    assert (answer["status"], answer["engine"], answer["pipeline"]) == ("submitted", "kubeflow", "kf-training")
    assert await client.status("r-2", "submitted") == answer
    await run_of(rig, answer["run_id"])
    assert len(await runs(rig)) == 1


@pytest.mark.parametrize("packed", [False, True])
async def test_envelopes_and_encodings_are_one_request(rig: Rig, nats: NatsServer, packed: bool) -> None:
    request = asking("r-3", rate="2")
    envelope: dict[str, Any] = {"request_id": "r-3", "user_id": "ada", "timestamp": "2026-01-02T03:04:05Z"}
    async with bridge_client(nats.url, packed=packed) as client:
        first = await client.request(envelope | {"payload": request, "metadata": {"team": "ml"}})
        plain = await client.request(request)
        text = await client.request(envelope | {"payload": json.dumps(request)})
        assert first["run_id"] == plain["run_id"] == text["run_id"]
        assert [one["status"] for one in (first, plain, text)] == ["submitted"] * 3
        status = await client.status("r-3", "submitted")
        assert status == first
    assert len(await runs(rig)) == 1


async def test_a_repeat_gets_the_same_run_and_other_content_an_error(rig: Rig, client: BridgeClient) -> None:
    first = await client.request(asking("r-4", rate=1))
    again = await client.request(asking("r-4", rate=1))
    assert (again["status"], again["run_id"]) == ("submitted", first["run_id"])
    for other in (asking("r-4", rate=2), asking("r-4", "kf-training", learningRate=1)):
        refused = await client.request(other)
        assert refused["status"] == "error"
        assert f"used for another request, which started {first['run_id']}" in refused["message"]
    assert client.answers("r-4") == ["submitted", "submitted"], "whoever was first is told nothing of others"
    assert await runs(rig) == [first["run_id"]]
    [row] = [row for row in await rig.store.triggers.list() if row.outcome == "started"]
    assert row.deliveries == 2


BAD: list[tuple[dict[str, Any], list[str]]] = [
    (asking("a", "trainign"), ["no pipeline \"trainign\", did you mean 'training'?", "There are: kf-training"]),
    (asking("b", "not-there"), ["pipeline 'not-there' is not ready", "no workflow 'missing' is published"]),
    (asking("c", rate="fast", colour="red"), ["'rate': expected a number, got \"fast\"", "no parameter 'colour'"]),
    ({"request_id": "d"}, ["there is no pipeline"]),
]


async def test_what_cannot_be_started_is_an_error_that_says_why(rig: Rig, client: BridgeClient) -> None:
    for body, words in BAD:
        answer = await client.request(body)
        request_id = str(body["request_id"])
        assert (answer["status"], answer["run_id"], answer["request_id"]) == ("error", "", request_id)
        assert all(word in answer["message"] for word in words), answer["message"]
        assert await client.status(request_id, "error") == answer
    rows = {row.identity: row for row in await rig.store.triggers.list()}
    for body, _ in BAD:
        row = rows[f"bridge:{body['request_id']}"]
        assert (row.outcome, row.source) == ("dead", "bridge")
        assert json.loads(row.data or b"") == body
    assert await runs(rig) == []


async def test_a_mended_request_of_the_same_id_starts(rig: Rig, client: BridgeClient) -> None:
    assert (await client.request(asking("r-5", rate="fast")))["status"] == "error"
    assert (await client.request(asking("r-5", rate="0.1")))["status"] == "submitted"


async def test_a_request_that_was_put_aside_is_replayed_and_its_client_hears_of_the_run(
    rig: Rig, client: BridgeClient
) -> None:
    await client.publish(asking("r-7", "not-there", rate="0.5"))
    await client.status("r-7", "error")
    async with rig.client() as service:
        [dead] = (await service.events(outcome="dead")).events
        [still] = [one async for one in service.replay([dead.id])]
        assert (still.outcome, still.code) == ("dead", "NOT_FOUND"), "nobody has published its workflow yet"
        await service.publish(rig.chain(CHAIN.replace("name: chain", "name: missing")))
        [replayed] = [one async for one in service.replay([dead.id])]
        assert replayed.outcome == "started"
        run = await run_of(rig, replayed.run_id)
    assert (run.workflow, run.trigger, run.inputs["rate"]) == ("missing", "bridge", 0.5)
    assert (await client.status("r-7", "pending"))["run_id"] == run.id


async def test_without_an_id_that_can_be_used_the_requester_is_told_and_it_is_put_aside(
    rig: Rig, nats: NatsServer
) -> None:
    connection = await nats_client.connect(nats.url)
    bad = [b"no json", b"\x81\xa1", b'{"pipeline": "training"}', b'{"request_id": "a.*", "pipeline": "training"}']
    for data in bad:
        answer = (await connection.request("ai.pipeline.trigger", data, timeout=15)).data
        status = ormsgpack.unpackb(answer) if data[0] >= 0x80 else json.loads(answer)
        assert (status["status"], status["request_id"]) == ("error", "")
    rows = await rig.store.triggers.list()
    assert sorted(row.data or b"" for row in rows) == sorted(bad)
    assert all(row.outcome == "dead" and row.identity.startswith("bridge:message:") for row in rows)
    await connection.close()


async def test_the_trace_of_a_request_goes_on_in_its_run(rig: Rig, client: BridgeClient) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = client.write(asking("r-6"))
    await client.connection.publish("ai.pipeline.trigger", body, headers={"traceparent": parent})
    status = await client.status("r-6", "submitted")
    run = await run_of(rig, status["run_id"])
    assert run.trace == {"traceparent": parent}
    assert run.cause is not None
    assert (run.cause.kind, run.cause.name) == ("bridge", "process ai.pipeline.trigger")
    assert run.cause.attributes["messaging.message.id"] == "r-6"


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.prove)])
async def test_a_burst_is_answered_request_by_request(rig: Rig, client: BridgeClient, count: int) -> None:
    names = [f"burst-{n}" for n in range(count)]
    for name in names:
        await client.connection.publish("ai.pipeline.trigger", client.write(asking(name)))
    started = {(await client.status(name, "submitted"))["run_id"] for name in names}
    assert len(started) == count
    await eventually(lambda: _all_written(rig, started))
    assert {name: client.answers(name) for name in names if client.answers(name) != ["submitted"]} == {}


async def _all_written(rig: Rig, started: set[str]) -> bool:
    return set(await runs(rig)) == started
