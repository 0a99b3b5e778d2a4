"""A fan-out as its users see it: the example of docs/foreach.md, run, listed, logged, traced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from meta.trace.model import Part
from tests.docs.pages import snippets
from tests.integration.service.servers import ARGO, Rig
from workers.engines.base import Submission
from workflows.errors import NotFound
from workflows.messages import ItemCounts
from workflows.outcome import FailureClass, Outcome, RunState, StepState

PAGE = "docs/foreach.md"
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")


def example(folder: Path) -> Path:
    (text,) = (one.text for one in snippets("yaml", pages=(PAGE,)))
    (folder / "tune.yaml").write_text(text.replace("backoff: 1s", "backoff: 1ms"))
    for step, names in (("train", ("rate", "name")), ("report", ("losses",))):
        parameters = ", ".join(f"{{name: {name}}}" for name in names)
        manifest = ARGO.replace('parameters: [{name: rate, value: "1"}]', f"parameters: [{parameters}]")
        loss = "    - name: main\n      outputs: {parameters: [{name: loss, valueFrom: {path: /tmp/loss}}]}\n"
        (folder / f"{step}.yaml").write_text(manifest.replace("    - name: main\n", loss))
    return folder / "tune.yaml"


async def meta(rig: Rig, *arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *arguments])
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_example_of_the_page_runs_and_its_items_are_shown(rig: Rig, tmp_path: Path) -> None:
    rig.engine.decides["train"] = lambda s: (
        FAILED if s.key.index == 2 and s.key.attempt == 1 else Outcome(outputs={"loss": s.key.index / 10})
    )
    async with rig.client() as client:
        started = await client.start(example(tmp_path))
        run = await client.wait(started.id)
        items = [one async for one in client.items(run.id, "train")]
        trace = await client.trace(run.id)
        with pytest.raises(NotFound, match="has no items"):
            [one async for one in client.items(run.id, "report")]
    assert run.outputs == {"losses": [0.1, 0.2, 0.3, 0.4], "first": 0.1}
    train = run.steps[0]
    assert (train.items, train.attempt, train.run) == (ItemCounts(total=4, succeeded=4), 1, None)
    assert [(one.index, one.attempt, one.outputs["loss"]) for one in items] == [
        (0, 1, 0.1), (1, 2, 0.2), (2, 1, 0.3), (3, 1, 0.4),
    ]  # fmt: skip
    assert items[2].item == {"rate": 0.2, "depth": 2}
    assert all(one.engine_run for one in items)
    names = {str(s.parameters["name"]) for s in rig.engine.submitted if s.key.step == "train"}
    assert names == {"trial-0-depth-2", "trial-1-depth-4", "trial-2-depth-2", "trial-3-depth-4"}
    spans = {one.span_id: one for one in trace.spans}
    above = [spans[one.parent_id].name for one in trace.spans if one.part is Part.ATTEMPT]
    assert sorted(above) == ["step report", "train[0]", "train[1]", "train[1]", "train[2]", "train[3]"]
    assert "train" in await meta(rig, "trace", run.id)
    assert "4 of 4 items" in await meta(rig, "get", run.id)
    assert json.loads(await meta(rig, "get", run.id, "--items", "train", "--output", "json"))[3]["item"]["depth"] == 4


async def test_what_failed_is_found_by_its_state_and_named_by_its_run(rig: Rig, tmp_path: Path) -> None:
    def train(submission: Submission) -> Outcome:
        return FAILED if submission.key.index == 3 else Outcome(outputs={"loss": 1})

    rig.engine.decides["train"] = train
    async with rig.client() as client:
        run = await client.wait((await client.start(example(tmp_path))).id)
        failed = [one async for one in client.items(run.id, "train", state=StepState.FAILED)]
    assert run.state is RunState.FAILED
    assert run.message == "step train failed: 1 of 4 items failed\nitem 2 (rate=0.2, depth=2): Error (exit code 1)"
    assert [(one.index, one.message) for one in failed] == [(2, "Error (exit code 1)")]
    shown = await meta(rig, "get", run.id)
    assert f"meta get {run.id} --items train --state failed" in shown
    table = await meta(rig, "get", run.id, "--items", "train", "--state", "failed")
    assert "rate=0.2, depth=2" in table and "exit code 1" in table
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["--address", rig.address, "get", run.id, "--state", "failed"]
    )
    assert result.exit_code == 2
    assert "--state goes with --items STEP" in result.stderr


async def test_engine_runs_of_items_are_in_order_until_their_step_ends(rig: Rig, tmp_path: Path) -> None:
    rig.engine.decides["train"] = lambda s: None
    async with rig.client() as client:
        run = await client.start(example(tmp_path))
        await rig.engine.until(lambda: len(rig.engine.running()) == 3)
        while len(await rig.store.engine_runs.awaited("argo", None, 10)) < 3:
            await asyncio.sleep(0.01)
        awaited = await rig.store.engine_runs.awaited("argo", None, 10)
        assert [(one.step, one.index) for one in awaited] == [("train", 1), ("train", 2), ("train", 3)]
        assert await rig.store.engine_runs.unsettled(None, 10) == []
        step = (await client.get(run.id)).steps[0]
        assert (step.state, step.run) == (StepState.RUNNING, None)
        await client.cancel(run.id)
        ended = await client.wait(run.id)
    assert (ended.state, rig.engine.running()) == (RunState.CANCELED, [])
    assert ended.steps[0].state is StepState.CANCELLED
