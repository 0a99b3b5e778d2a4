"""`meta send`: a message that starts a run, and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import nats as nats_client
import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from meta.cli.app import app
from meta.triggers.event import identity_of
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.starting import starts_runs
from workflows.naming import request_run_id
from workflows.outcome import FailureClass, Outcome

Send = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def rig(temporal: Client, nats: NatsServer, tmp_path: Path) -> AsyncGenerator[Rig]:
    async with make_rig(temporal, tmp_path, nats.url) as made:
        await made.work()
        async with made.client() as client:
            await client.publish(made.chain())
        yield made


@pytest.fixture
def send(nats: NatsServer, tmp_path: Path) -> Send:
    async def invoke(*arguments: str, url: str = "") -> tuple[int, str, str]:
        env = {"META_NATS__URL": url or nats.url, "META_CONFIG": ""}
        words = ["send", *arguments, "--results", str(tmp_path / "results")]
        result = await asyncio.to_thread(CliRunner(env=env).invoke, app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


def results(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (folder / "results").iterdir()}


async def test_a_message_is_sent_once_and_the_end_of_its_run_is_told(
    rig: Rig, nats: NatsServer, send: Send, tmp_path: Path
) -> None:
    words = ("lake.arrived", "--data", '{"rate": 2}', "--id", "m-1", "--wait", "chain", "--timeout", "60s")
    run_id = request_run_id("chain", identity_of("nats:id", "m-1"))
    async with starts_runs(nats.url, rig.address, "lake.>", "chain"):
        code, out, _ = await send(*words)
        assert (code, f"{run_id} succeeded" in out, "rate = 2" in out) == (0, True, True)
        assert results(tmp_path) == {"run": run_id, "state": "succeeded", "message": "", "outputs": '{"rate": 2.0}'}
        code, out, _ = await send(*words, "-o", "json")
        again = json.loads(out)
        assert (code, again["duplicate"], again["run"], again["outputs"]) == (0, True, run_id, {"rate": 2.0})


async def test_a_run_that_fails_is_told_with_its_message(
    rig: Rig, nats: NatsServer, send: Send, tmp_path: Path
) -> None:
    rig.engine.script["prepare"] = [Outcome(failure=FailureClass.FAILED, message="exit code 3")]
    async with starts_runs(nats.url, rig.address, "lake.>", "chain"):
        code, _, errors = await send("lake.arrived", "--wait", "chain", "--timeout", "60s")
    assert code == 1
    assert "exit code 3" in errors
    assert (results(tmp_path)["state"], results(tmp_path)["outputs"]) == ("failed", "{}")


async def test_a_message_that_can_start_no_run_is_told_with_the_reason(nats: NatsServer, send: Send) -> None:
    async with await nats_client.connect(nats.url) as producer:
        await producer.jetstream().add_stream(name="LAKE", subjects=["lake.>"])
        letter = {"Meta-Event-Id": identity_of("nats:id", "m-2"), "Meta-Reason": json.dumps("no such input\nlook")}

        async def bury(message: object) -> None:
            await producer.publish("meta.dead.chain", b"", headers={**letter, "Meta-Event-Id": "nats:id:other"})
            await producer.publish("meta.dead.chain", b"", headers=letter)

        await producer.subscribe("lake.>", cb=bury)
        await producer.flush()
        code, _, errors = await send("lake.arrived", "--id", "m-2", "--wait", "chain", "--timeout", "60s")
    assert code == 1
    assert "the message can start no run: no such input" in errors


async def test_without_waiting_it_is_published_and_that_is_all(nats: NatsServer, send: Send) -> None:
    async with await nats_client.connect(nats.url) as producer:
        stream = producer.jetstream()
        await stream.add_stream(name="LAKE", subjects=["lake.>"])
        code, out, _ = await send("lake.arrived", "--data", "[1]", "--id", "m-3", "--header", "X-Team=ml")
        assert (code, "published m-3 to stream LAKE, message 1" in out) == (0, True)
        kept = await stream.get_msg("LAKE", 1)
    assert kept.data == b"[1]"
    assert kept.headers == {"Nats-Msg-Id": "m-3", "X-Team": "ml", "Content-Type": "application/json"}


async def test_a_run_that_does_not_end_in_time_is_said(nats: NatsServer, send: Send, tmp_path: Path) -> None:
    async with await nats_client.connect(nats.url) as producer:
        await producer.jetstream().add_stream(name="LAKE", subjects=["lake.>"])
    code, _, errors = await send("lake.arrived", "--wait", "chain", "--timeout", "200ms")
    assert code == 1
    assert "no run of chain has ended in 200ms" in errors
    assert results(tmp_path)["state"] == ""
    assert "no run of chain" in results(tmp_path)["message"]


async def test_a_nats_that_does_not_answer_is_said(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.sending.CONNECT_S", 0.3)
    code, _, errors = await send("lake.arrived", url="nats://127.0.0.1:1")
    assert (code, "NATS at nats://" in errors) == (3, True)


async def test_what_cannot_be_sent_is_refused(nats: NatsServer, send: Send) -> None:
    code, _, errors = await send("nobody.listens")
    assert (code, "no stream has the subject 'nobody.listens'" in errors) == (2, True)
    assert (await send("lake.*"))[0] == 2
    assert (await send("lake.x", "--header", "a b=c"))[0] == 2
    assert (await send("lake.x", "--id", "é"))[0] == 2
    assert (await send("lake.x", "--timeout", "soon", "--wait", "chain"))[0] == 2
