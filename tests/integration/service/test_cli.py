from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from tests.integration.service.servers import CHAIN, Rig
from workflows.outcome import FailureClass, Outcome, RunState

Meta = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def meta(rig: Rig) -> Meta:
    """Runs `meta` as typer's runner does, beside the test's loop."""

    async def invoke(*arguments: str) -> tuple[int, str, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def test_a_run_is_followed_to_its_outputs(rig: Rig, meta: Meta) -> None:
    code, out, _ = await meta("run", str(rig.chain()), "-i", "rate=2", "--follow")
    assert code == 0
    assert "prepare succeeded" in out
    assert "train succeeded" in out
    assert "rate = 2.0" in out
    assert "http://ui.test/namespaces/default/workflows/chain-" in out


async def test_runs_are_published_started_listed_and_shown(rig: Rig, meta: Meta) -> None:
    code, out, _ = await meta("publish", str(rig.chain()), "--output", "json")
    assert (code, json.loads(out)["version"]) == (0, 1)
    assert "Two steps of Argo" in (await meta("workflows"))[1]
    code, out, _ = await meta("run", "chain", "--request-id", "q", "--output", "json")
    started = json.loads(out)
    assert (code, started["created"]) == (0, True)
    again = json.loads((await meta("run", "chain", "--request-id", "q", "-o", "json"))[1])
    assert (again["id"], again["created"]) == (started["id"], False)
    code, _, errors = await meta("run", "chain", "--request-id", "q", "-i", "rate=9")
    assert code == 2
    assert "other inputs" in errors

    code, out, _ = await meta("watch", started["id"], "-o", "json")
    assert (code, json.loads(out.splitlines()[-1])["state"]) == (0, "succeeded")
    assert [one["id"] for one in json.loads((await meta("list", "-o", "json"))[1])] == [started["id"]]
    assert started["id"] in (await meta("list"))[1]
    shown = json.loads((await meta("get", started["id"], "-o", "json"))[1])
    assert [step["state"] for step in shown["steps"]] == ["succeeded", "succeeded"]
    assert "prepare  argo" in (await meta("get", started["id"]))[1]


async def test_a_failed_run_leaves_with_1_and_the_engines_message(rig: Rig, meta: Meta) -> None:
    rig.engine.script["prepare"] = [Outcome(failure=FailureClass.FAILED, message="exit code 3")]
    code, _, errors = await meta("run", str(rig.chain()), "--follow")
    assert code == 1
    assert "exit code 3" in errors
    code, out, _ = await meta("run", str(rig.chain()), "--follow", "-o", "json")
    assert (code, json.loads(out)["state"]) == (1, "failed")


async def test_wrong_names_and_inputs_leave_with_2_and_a_hint(rig: Rig, meta: Meta) -> None:
    await meta("publish", str(rig.chain()))
    code, _, errors = await meta("run", "chian")
    assert code == 2
    assert "did you mean 'chain'?" in errors
    code, _, errors = await meta("run", "chain", "-i", "rat=1")
    assert code == 2
    assert "unknown input 'rat'" in errors
    code, _, errors = await meta("get", "chain-x")
    assert code == 2
    assert "meta list" in errors
    broken = rig.chain(CHAIN.replace("needs: [prepare]", "needs: [prepair]"))
    code, _, errors = await meta("publish", str(broken))
    assert code == 2
    assert "prepair" in errors


async def test_a_name_of_the_catalogue_runs_when_nothing_is_published_under_it(rig: Rig, meta: Meta) -> None:
    # the rig has no KFP engine, so the run fails; that it was started, with the catalogue's bundle, is the point
    code, out, _ = await meta("run", "hybrid-training", "--no-follow", "-o", "json")
    assert code == 0
    async with rig.client() as client:
        run = await client.get(json.loads(out)["id"])
        assert run.workflow == "hybrid-training"
        assert await client.workflows() == [], "nothing was published by it"


async def test_cancel_and_engines_and_logs(rig: Rig, meta: Meta) -> None:
    rig.engine.script["prepare"] = [None]
    started = json.loads((await meta("run", str(rig.chain()), "--no-follow", "-o", "json"))[1])
    await rig.engine.until(lambda: rig.engine.steps() == ["prepare"])
    async with rig.client() as client, asyncio.timeout(20):
        async for run in client.watch(started["id"]):
            if run.steps[0].run is not None:
                break
    code, out, _ = await meta("cancel", started["id"], "--reason", "wrong data")
    assert code == 0
    assert "cancelling" in out
    assert (await meta("watch", started["id"]))[0] == 1
    assert json.loads((await meta("cancel", started["id"], "-o", "json"))[1]) == {
        "id": started["id"],
        "accepted": False,
    }
    assert "no engines are configured" in (await meta("engines"))[1]
    code, _, errors = await meta("logs", started["id"], "trian")
    assert code == 2
    assert "no step 'trian'" in errors


async def test_ctrl_c_detaches_and_the_run_goes_on(rig: Rig, tmp_path: Path) -> None:
    rig.engine.script["prepare"] = [None]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meta", "--address", rig.address, "run", str(rig.chain()), "--follow",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while b"prepare running" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 130
    text = errors.decode()
    assert "the run goes on" in text
    assert "Traceback" not in text
    run_id = text.split("meta watch ")[1].split()[0]
    assert f"meta cancel {run_id}" in text
    rig.engine.finish("prepare")
    async with rig.client() as client, asyncio.timeout(20):
        assert (await client.wait(run_id)).state is RunState.SUCCEEDED
