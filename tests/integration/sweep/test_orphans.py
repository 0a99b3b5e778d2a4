"""`meta orphans`, and the call behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from meta.api.sweep import Pace
from meta.cli.app import app
from meta.client import EndedOrphan, EngineProblem, MissingInfo, OrphanInfo, sync
from tests.integration.sweep.rig import Rig, eventually, installation, step_of
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from workers.engines.json_view import child
from workflows.errors import NotFound

Meta = Callable[..., Awaitable[tuple[int, str, str]]]
NEVER = Pace(every_s=3600.0, again_s=3600.0)


@pytest.fixture
def meta(rig: Rig) -> Meta:
    """Runs `meta` as typer's runner does, beside the test's loop."""

    async def invoke(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        words = ["--address", rig.client.address, *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, app, words, stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


def stray(rig: Rig, name: str, key: str) -> None:
    """A workflow of ours whose meta-run is not known here."""
    like = next(iter(rig.argo.workflows.values()))
    metadata = child(like, "metadata")
    annotations = {**child(metadata, "annotations"), "meta-workflows/key": key}
    rig.argo.workflows[name] = {
        "metadata": {**metadata, "name": name, "uid": f"uid-{name}", "annotations": annotations},
        "spec": child(like, "spec"),
        "status": {"phase": "Running"},
    }


async def test_without_orphans_it_says_so(rig: Rig, meta: Meta) -> None:
    await rig.start()
    assert await meta("orphans") == (0, "no orphans\n", "")
    found = json.loads((await meta("orphans", "-o", "json"))[1])
    assert found == {"orphans": [], "missing": [], "problems": [], "ended": []}


async def test_a_run_of_an_unknown_meta_run_is_shown_left_alone_and_ended_on_request(rig: Rig, meta: Meta) -> None:
    await rig.start()
    stray(rig, "stray", "nightly-7/one/0/1")
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "the service has swept many times")
    assert rig.argo.phase("stray") == "Running"

    code, out, _ = await meta("orphans")
    assert code == 0
    assert "stray" in out
    assert "unknown meta-run" in out
    (orphan,) = json.loads((await meta("orphans", "--engine", "argo", "-o", "json"))[1])["orphans"]
    assert (orphan["run"]["name"], orphan["meta_run"], orphan["swept"]) == ("stray", "nightly-7", False)
    assert (await meta("orphans", "--engine", "kfp"))[1] == "no orphans\n"

    code, out, _ = await meta("orphans", "--terminate", stdin="n\n")
    assert code == 1
    assert "End 1 engine run?" in out
    assert rig.argo.phase("stray") == "Running"
    code, out, _ = await meta("orphans", "--terminate", stdin="y\n")
    assert code == 0
    assert "1/1 stray: ended" in out
    assert "1 engine run ended" in out
    assert rig.argo.phase("stray") == "Failed"
    assert sorted(rig.states()) == ["Failed", "RUNNING", "Running"], "what is in order goes on"


async def test_in_json_nothing_is_asked_so_yes_must_be_said(rig: Rig, meta: Meta) -> None:
    await rig.start()
    stray(rig, "stray", "nightly-7/one/0/1")
    code, _, errors = await meta("orphans", "--terminate", "-o", "json")
    assert code == 2
    assert "--yes" in errors
    assert rig.argo.phase("stray") == "Running"
    code, out, _ = await meta("orphans", "--terminate", "--yes", "-o", "json")
    assert (code, json.loads(out)["ended"][0]["ended"]) == (0, True)
    assert rig.argo.phase("stray") == "Failed"


async def test_an_engine_that_is_down_does_not_hide_the_others(rig: Rig, meta: Meta) -> None:
    run = await rig.start()
    two = step_of(run, "two").run
    assert two is not None
    double = rig.kfp.add_run({**rig.kfp.runs[two.uid], "description": _described("nightly-7/two/0/1")})
    rig.argo.faults.bursts = 1_000_000
    code, out, errors = await meta("orphans")
    assert code == 1
    assert "unknown meta-run" in out
    assert "engine argo cannot be asked" in errors
    assert "503" in errors
    code, out, _ = await meta("orphans", "--terminate", "--yes")
    assert code == 1
    assert rig.kfp.state(double) == "FAILED"
    assert rig.kfp.state(two.uid) == "RUNNING"
    rig.argo.faults.bursts = 0

    async def all_well() -> bool:
        return await meta("orphans") == (0, "no orphans\n", "")

    await eventually(all_well, "the engine is asked again, once its circuit lets a call through")


@pytest.mark.prove
async def test_a_run_that_does_not_end_is_said_with_the_reason(rig: Rig, meta: Meta) -> None:
    await rig.start()
    stray(rig, "stray", "nightly-7/one/0/1")
    rig.argo.faults.refused_ends = 1000
    code, out, _ = await meta("orphans", "--terminate", "--yes")
    assert code == 1
    assert "1/1 stray: not ended: engine 'argo'" in out
    assert "cannot patch resource" in out
    assert "0 engine runs ended, 1 not" in out
    assert rig.argo.phase("stray") == "Running"


async def test_running_steps_whose_engine_run_is_gone_are_shown(
    temporal: Client, tmp_path: Path, argo: ArgoStub, kfp: KfpStub
) -> None:
    async with installation(temporal, tmp_path / "here", argo, kfp) as rig:
        await rig.serve(NEVER)
        await rig.work()
        run = await rig.start()
        await rig.stop_working()  # with a worker, the steps would be lost by now
        one, two = step_of(run, "one").run, step_of(run, "two").run
        assert one is not None
        assert two is not None
        argo.delete(one.name)
        del kfp.runs[two.uid]
        await eventually(lambda: not argo.workflows, "it is deleted")
        missing = [news async for news in rig.client.orphans()]
        assert missing == [
            MissingInfo(meta_run=run.id, step="one", run=one),
            MissingInfo(meta_run=run.id, step="two", run=two),
        ]


async def test_an_unknown_engine_is_refused_by_name(rig: Rig, meta: Meta) -> None:
    with pytest.raises(NotFound, match="argoo"):
        _ = [news async for news in rig.client.orphans("argoo")]
    code, _, errors = await meta("orphans", "--engine", "argoo")
    assert code == 2
    assert "did you mean 'argo'?" in errors


async def test_the_blocking_client_has_it_too(rig: Rig) -> None:
    await rig.start()
    stray(rig, "stray", "nightly-7/one/0/1")

    def ask() -> list[object]:
        with sync.MetaClient(rig.client.address) as client:
            return list(client.orphans())

    (found,) = await asyncio.to_thread(ask)
    assert isinstance(found, OrphanInfo)
    assert found.run.name == "stray"


async def test_only_the_runs_that_were_named_are_ended(rig: Rig) -> None:
    await rig.start()
    for name in ("stray", "other"):
        stray(rig, name, f"{name}-7/one/0/1")
    news = [one async for one in rig.client.orphans(terminate=True, uids=["uid-stray"])]
    assert [one.name for one in news if isinstance(one, EndedOrphan)] == ["stray"]
    assert (rig.argo.phase("stray"), rig.argo.phase("other")) == ("Failed", "Running")
    assert not any(isinstance(one, EngineProblem) for one in news)


def _described(key: str) -> str:
    return json.dumps({"key": key, "digest": "d", "managed-by": "meta-workflows"})
