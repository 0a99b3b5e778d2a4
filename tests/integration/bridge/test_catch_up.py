"""What is sent while no service runs, or while Temporal is away: started later, once, and answered once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from temporalio.client import Client

from meta.api.temporal import TemporalRuns
from meta.bridge import catch_up
from meta.bridge.stream import stream_of
from meta.config import GrpcConfig
from meta.service import Service
from meta.stack import bridge_check
from tests.integration.bridge.client import BridgeClient, asking
from tests.integration.bridge.conftest import BRIDGE as PATIENT
from tests.integration.bridge.conftest import bridge_of, bridged_rig, eventually, ready, run_of, runs
from tests.integration.service.servers import NatsServer, Rig
from workers.engines.base import Verdict
from workflows.errors import ServiceUnavailable

BRIDGE = PATIENT.model_copy(update={"grace": 2.0})


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    async with bridged_rig(temporal, tmp_path, nats, BRIDGE) as made:
        yield made


@asynccontextmanager
async def stopped(rig: Rig) -> AsyncGenerator[None]:
    """No service runs; at the end it is there again."""
    await rig.service.__aexit__(None, None, None)
    yield
    rig.service = await Service(rig.config).__aenter__()
    await ready(rig.service)


async def drained(js: JetStreamContext, stream: str = "META_BRIDGE") -> None:
    """Every message is acknowledged."""

    async def probe() -> bool:
        info = await js.consumer_info(stream, BRIDGE.queue)
        return not info.num_pending and not info.num_ack_pending

    await eventually(probe)


async def test_what_was_sent_while_no_service_ran_is_started_and_told(
    rig: Rig, client: BridgeClient, js: JetStreamContext
) -> None:
    async with stopped(rig):
        await client.publish(asking("away-1", rate=2))
        await client.publish(asking("away-2", "trainign"))
        await client.publish("no request")
        with pytest.raises(NatsTimeout):  # the stream does not acknowledge, so nothing answers in our place
            await client.request(asking("away-3"), timeout=0.2)
    submitted = [await client.status(name, "submitted") for name in ("away-1", "away-3")]
    assert "no pipeline" in (await client.status("away-2", "error"))["message"]
    await drained(js)
    assert sorted(await runs(rig)) == sorted(status["run_id"] for status in submitted)
    assert {name: client.answers(name) for name in client.seen} == {
        "away-1": ["submitted"],
        "away-2": ["error"],
        "away-3": ["submitted"],
    }
    assert sorted(row.outcome for row in await rig.store.triggers.list()) == ["dead", "dead", "started", "started"]


async def test_what_a_running_service_has_answered_is_not_answered_again(
    rig: Rig, client: BridgeClient, js: JetStreamContext
) -> None:
    await client.publish(asking("here-1", rate=2))
    await client.publish(asking("here-2", "trainign"))
    await client.publish(asking("here-1", rate=2))
    await client.publish(asking("here-1", rate=3))
    await client.publish("no request")
    await client.status("here-1", "submitted", count=2)
    [finding] = await bridge_check.bridge(rig.config)
    assert (finding.verdict, finding.detail.partition("; ")[2]) == (Verdict.OK, "stream META_BRIDGE keeps requests")
    info = await js.stream_info("META_BRIDGE")
    assert info.state.messages == 5, "all were kept until somebody had handled them"
    await drained(js)
    assert (await js.stream_info("META_BRIDGE")).state.messages == 0
    assert client.answers("here-2") == ["error"]
    assert sorted(client.answers("here-1")) == ["error", "submitted", "submitted"]
    assert len(await runs(rig)) == 1


async def test_two_services_share_the_requests_and_answer_each_once(
    rig: Rig, client: BridgeClient, js: JetStreamContext
) -> None:
    second = rig.config.model_copy(update={"grpc": GrpcConfig(address="127.0.0.1:0")})
    async with Service(second) as other:
        await ready(other)
        names = [f"both-{n}" for n in range(40)]
        for name in names:
            await client.connection.publish("ai.pipeline.trigger", client.write(asking(name)))
        for name in names:
            await client.status(name, "submitted")
        await drained(js)
        twice = {name: client.seen[name] for name in names if client.answers(name) != ["submitted"]}
        assert twice == {}, [[(o["message"], o["timestamp"]) for o in t] for t in twice.values()]
        assert len(await runs(rig)) == 40


async def test_a_request_that_is_older_than_allowed_is_refused(
    temporal: Client, tmp_path: Path, nats: NatsServer, client: BridgeClient
) -> None:
    async with bridged_rig(temporal, tmp_path, nats, BRIDGE.model_copy(update={"max_age": 0.5})) as rig:
        async with stopped(rig):
            await client.publish(asking("old"))
        status = await client.status("old", "error")
        assert "too old to be started (send it again)" in status["message"]
        assert await runs(rig) == []


async def test_a_stream_that_acknowledges_is_used_and_complained_about(
    temporal: Client, tmp_path: Path, nats: NatsServer, client: BridgeClient, js: JetStreamContext
) -> None:
    await js.add_stream(StreamConfig(name="PIPELINES", subjects=["ai.pipeline.>"]))
    await client.publish(asking("before"))  # for whoever served the subject then
    async with bridged_rig(temporal, tmp_path, nats, BRIDGE) as rig:
        bridge = bridge_of(rig.service)
        assert bridge.catch_up.stream == "PIPELINES"
        assert "stream PIPELINES acknowledges what is published on ai.pipeline.trigger" in bridge.catch_up.problem
        assert "--no-ack" in bridge.catch_up.problem
        [finding] = await bridge_check.bridge(rig.config)
        assert finding.verdict is Verdict.WARN
        assert finding.detail in f"3 pipelines on ai.pipeline.trigger: {bridge.catch_up.problem}"
        await client.publish(asking("up"))
        await client.status("up", "submitted")
        async with stopped(rig):
            await client.publish(asking("down"))
        await client.status("down", "submitted")
        await drained(js, "PIPELINES")
        assert {name: client.answers(name) for name in client.seen} == {"up": ["submitted"], "down": ["submitted"]}


async def test_a_stream_that_is_deleted_comes_back(
    rig: Rig, client: BridgeClient, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "LOOK_S", 0.0)
    monkeypatch.setattr(catch_up, "RETRY_S", 0.2)
    await rig.restart()
    await ready(rig.service)
    created = (await js.stream_info("META_BRIDGE")).created
    await js.delete_stream("META_BRIDGE")

    async def anew() -> bool:
        info = await stream_of(js, BRIDGE.subject)
        return info is not None and info.created != created

    await eventually(anew)
    await ready(rig.service)
    async with stopped(rig):
        await client.publish(asking("later"))
    await client.status("later", "submitted")


class Away:
    """Temporal that does not answer; until `back` is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.back = asyncio.Event()
        original = TemporalRuns.start

        async def start(runs: TemporalRuns, *arguments: object) -> bool:
            self.asked += 1
            if not self.back.is_set():
                raise ServiceUnavailable("Temporal does not answer")
            return await original(runs, *arguments)  # pyright: ignore[reportArgumentType]

        patch.setattr(TemporalRuns, "start", start)


async def test_while_temporal_is_away_requests_wait_on_the_stream(
    rig: Rig, client: BridgeClient, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(monkeypatch)
    answer = await client.request(asking("kept", rate=1))
    assert (answer["status"], answer["message"]) == ("pending", "the request is kept and will be started later")
    assert bridge_of(rig.service).subscriber.held == 0, "the stream has it, memory has not"
    away.back.set()
    await client.status("kept", "submitted")
    await drained(js)
    assert client.answers("kept") == ["submitted"]
    assert len(await runs(rig)) == 1


async def test_without_a_stream_they_wait_in_memory_and_too_many_are_told_so(
    temporal: Client, tmp_path: Path, nats: NatsServer, client: BridgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BRIDGE.model_copy(update={"catch_up": False, "max_held": 3})
    async with bridged_rig(temporal, tmp_path, nats, config) as rig:
        away = Away(monkeypatch)
        for n in range(3):
            await client.publish(asking(f"held-{n}"))
        await eventually(lambda: _held(rig, 3))
        answer = await client.request(asking("one-more"))
        assert (answer["status"], answer["message"][:4]) == ("error", "busy")
        away.back.set()
        for n in range(3):
            await run_of(rig, (await client.status(f"held-{n}", "submitted"))["run_id"])
        monkeypatch.undo()
        Away(monkeypatch)
        await client.publish(asking("lost"))
        await eventually(lambda: _held(rig, 1))
        await bridge_of(rig.service).drain()
        assert "send the request again" in (await client.status("lost", "error"))["message"]


async def _held(rig: Rig, count: int) -> bool:
    return bridge_of(rig.service).subscriber.held == count


async def test_the_service_outlives_nats(rig: Rig, client: BridgeClient, nats: NatsServer) -> None:
    await nats.stop()
    await nats.start()

    async def answered() -> bool:
        try:
            return (await client.request(asking("after"), timeout=1))["status"] == "submitted"
        except Exception:
            return False

    await eventually(answered, 30)
    assert len(await runs(rig)) == 1
