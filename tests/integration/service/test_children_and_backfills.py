"""What is run inside a run, and backfills, on the whole service; and the pages about them."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from meta.cli.app import app
from meta.client import BackfillInfo, MetaClient, RunView
from meta.trace.model import Part
from tests.docs.commands import parse
from tests.integration.service.servers import Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.temporal import temporal_server
from workflows.errors import Conflict, InputsInvalid, InvalidInput, NotFound
from workflows.outcome import FailureClass, Outcome, RunState, StepState
from workflows.spec import load_definition

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("workflow-steps.md", "schedules.md", "backfill.md")
FAILED = Outcome(failure=FailureClass.FAILED, message="exit code 1")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
Meta = Callable[..., Awaitable[tuple[int, str, str]]]


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with temporal_server() as temporal, make_rig(temporal, tmp_path_factory.mktemp("service")) as made:
        await made.work()
        yield made


@pytest.fixture
def rig(module_rig: Rig) -> Rig:
    """One service for all tests of this module, with an engine that knows nothing of the test before."""
    module_rig.engine.forget()
    return module_rig


@pytest.fixture
def meta(rig: Rig) -> Meta:
    async def invoke(*arguments: str) -> tuple[int, str, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def publish(rig: Rig, *texts: str) -> None:
    async with rig.client() as client:
        for text in texts:
            file = rig.folder / f"{load_definition(text).name}.yaml"
            file.write_text(text)
            await client.publish(file)


async def nested(rig: Rig, client: MetaClient) -> tuple[RunView, RunView]:
    """A run of the page's outer workflow and the one inside it, whose engine run goes on."""
    await publish(rig, *snippets("workflow-steps.md", "yaml"))
    rig.engine.script["train"] = [None]
    started = await client.start("nightly")
    await rig.engine.until(lambda: rig.engine.steps() == ["train"])
    async with asyncio.timeout(30):
        while not (outer := await client.get(started.id)).steps[0].child:
            await asyncio.sleep(0.05)
        while True:
            try:
                return outer, await client.get(outer.steps[0].child)
            except NotFound:
                await asyncio.sleep(0.05)


async def test_the_example_of_a_workflow_in_another_runs(rig: Rig, meta: Meta) -> None:
    await publish(rig, *snippets("workflow-steps.md", "yaml"))
    rig.engine.script["train"] = [FAILED, Outcome(outputs={"accuracy": "0.93"})]
    async with rig.client() as client:
        started = await client.start("nightly", {"rate": 0.5})
        assert await client.result(started.id) == {"accuracy": 0.93}
        run = await client.get(started.id)
        inner = await client.get(run.steps[0].child)
        trace = await client.trace(run.id)
        below = await client.trace(inner.id)
    assert rig.engine.steps() == ["train", "train", "deploy"]
    assert (inner.parent, inner.trigger, inner.inputs["rate"]) == (run.id, "workflow", 0.5)
    assert below.trace_id == trace.trace_id
    step = next(span for span in trace.spans if span.part is Part.STEP and span.name == "step model")
    assert below.spans[0].parent_id == step.span_id
    _, out, _ = await meta("get", run.id)
    assert re.search(r"model +workflow +succeeded", out)
    assert f"model: run {inner.id}   (meta get {inner.id})" in out
    assert f"a step of {run.id}" in (await meta("get", inner.id))[1]
    listed = json.loads((await meta("list", "--workflow", "train-model", "-o", "json"))[1])
    assert {one["state"] for one in listed} >= {"failed", "succeeded"}


async def test_cancelling_the_inner_run_alone_cancels_the_step(rig: Rig) -> None:
    async with rig.client() as client:
        outer, inner = await nested(rig, client)
        assert inner.temporal_url
        assert await client.cancel(inner.id, "by hand")
        ended = await client.wait(outer.id)
        assert (ended.state, ended.steps[0].state) == (RunState.FAILED, StepState.CANCELLED)
        assert ended.steps[0].message.startswith(f"run {inner.id} was cancelled\n")
        assert (await client.wait(inner.id)).state is RunState.CANCELED


async def test_terminating_the_outer_run_ends_the_inner_one_and_its_engine_run(rig: Rig) -> None:
    async with rig.client() as client:
        outer, inner = await nested(rig, client)
        await rig.temporal.get_workflow_handle(outer.id).terminate(reason="by hand")
        assert (await client.wait(inner.id)).state is RunState.CANCELED
        assert (await client.wait(outer.id)).state is RunState.TERMINATED
    assert len(rig.engine.terminated) == 1


async def test_the_example_of_a_backfill_runs_what_is_not_done(rig: Rig, meta: Meta) -> None:
    await publish(rig, *snippets("schedules.md", "yaml"))
    rig.engine.script["make"] = [Outcome(), FAILED, Outcome()]
    (command,) = snippets("backfill.md", "console")[0].splitlines()
    words = shlex.split(command.removeprefix("$ meta "))
    code, out, errors = await meta(*words)
    assert code == 1
    assert "2 of 3 done, 1 failed, 0 running" in out
    failed = re.findall(r"meta get (report-\w+)", errors)
    assert len(failed) == 1
    assert {str(one.parameters["day"]) for one in rig.engine.submitted} == {f"2026-01-0{day}" for day in (1, 2, 3)}

    main = globals_of(snippets("backfill.md", "python")[0])["main"]
    assert callable(main)
    result = main(rig.address)
    assert inspect.isawaitable(result)
    assert await result == (3, 0)
    assert len(rig.engine.submitted) == 4, "only the one that had failed ran again"
    async with rig.client() as client:
        assert (await client.get(failed[0])).trigger == "backfill"
        runs = (await client.list(workflow="report")).runs
    assert sorted(run.state.value for run in runs) == ["failed", *["succeeded"] * 3]
    code, out, _ = await meta(*words, "--output", "json")
    assert (code, json.loads(out)["skipped"]) == (0, 3)


async def test_a_backfill_is_paused_resumed_and_cancelled(rig: Rig, meta: Meta) -> None:
    text = snippets("schedules.md", "yaml")[0].replace("name: report", "name: steered")
    await publish(rig, text)
    rig.engine.script["make"] = [None]
    words = ["backfill", "steered", "--from", "2026-01-01", "--to", "2026-01-05T00:00:00Z", "--step", "1d", "-p", "1"]
    code, out, _ = await meta(*words, "--no-follow", "-o", "json")
    found = json.loads(out)["id"]
    assert (code, json.loads((await meta(*words, "--no-follow", "-o", "json"))[1])["id"]) == (0, found)
    await rig.engine.until(lambda: len(rig.engine.submitted) == 1)
    assert json.loads((await meta("backfill", "pause", found, "-o", "json"))[1])["state"] == "paused"
    rig.engine.finish("make")
    async with rig.client() as client:
        async with asyncio.timeout(30):
            while (now := await client.get_backfill(found)).running:
                await asyncio.sleep(0.05)
        assert (now.state, now.done, len(rig.engine.submitted)) == ("paused", 1, 1)
        _, out, _ = await meta("backfill", "list", "--workflow", "steered")
        assert re.search(rf"{found} +steered +paused +2026-01-01 00:00 +2026-01-05 00:00 +1d +1/4 +0 +0", out)
        assert json.loads((await meta("backfill", "resume", found, "-o", "json"))[1])["state"] == "running"
        await rig.engine.until(lambda: len(rig.engine.submitted) == 2)
        await meta("backfill", "cancel", found)
        last = [one async for one in client.watch_backfill(found)][-1]
        assert (last.state, last.done, len(rig.engine.terminated)) == ("canceled", 1, 1)
        with pytest.raises(Conflict, match="has been canceled"):
            await client.pause_backfill(found)
        await client.cancel_backfill(found)


async def test_what_cannot_be_backfilled_is_said_before_anything_starts(rig: Rig, meta: Meta) -> None:
    await publish(rig, *snippets("schedules.md", "yaml"))
    async with rig.client() as client:
        with pytest.raises(NotFound, match="no workflow 'raport'"):
            await client.backfill("raport", START, START + DAY, DAY)
        with pytest.raises(InvalidInput, match="the end is not after the start"):
            await client.backfill("report", START, START, DAY)
        with pytest.raises(InputsInvalid, match="unknown input 'dey'"):
            await client.backfill("report", START, START + DAY, DAY, inputs={"dey": 1})
        with pytest.raises(InvalidInput, match="100,000 at most"):
            await client.backfill("report", START, START + 1000 * DAY, timedelta(seconds=1))
        with pytest.raises(NotFound, match="no backfill"):
            await client.get_backfill("backfill-nothing")
    code, _, errors = await meta("backfill", "report", "--from", "yesterday", "--to", "2026-01-02", "--step", "1d")
    assert (code, "'yesterday' is no time" in errors) == (2, True)
    assert rig.engine.submitted == []


async def test_the_commands_on_schedules_pause_and_fire(rig: Rig, meta: Meta) -> None:
    await publish(rig, snippets("schedules.md", "yaml")[0].replace("name: report", "name: timed"))
    code, out, _ = await meta("schedules", "timed", "--pause", "--note", "the source is down")
    assert code == 0
    assert re.search(r"timed +nightly +paused +0 3 \* \* \* Europe/Berlin", out)
    assert "the source is down" in out
    assert re.search(r"nightly +paused", (await meta("triggers", "timed"))[1])
    (one,) = json.loads((await meta("schedules", "timed", "nightly", "--resume", "-o", "json"))[1])
    assert (one["paused"], len(one["next"])) == (False, 5)
    assert (await meta("schedules", "timed", "--fire"))[0] == 0
    await rig.engine.until(lambda: rig.engine.steps() == ["make"])
    code, _, errors = await meta("schedules", "--fire")
    assert (code, "name a workflow" in errors) == (2, True)


@pytest.mark.parametrize("page", PAGES)
async def test_the_page_is_true_to_the_parsers(page: str) -> None:
    for text in snippets(page, "yaml"):
        load_definition(text)
    for block in snippets(page, "console"):
        for line in block.splitlines():
            parse(shlex.split(line.removeprefix("$ meta ")))
    assert len((DOCS / page).read_text().splitlines()) <= 200


async def test_ctrl_c_leaves_a_backfill_running_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(self: MetaClient, backfill: str) -> AsyncGenerator[BackfillInfo]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(MetaClient, "watch_backfill", interrupted)
    words = ["--address", "127.0.0.1:1", "backfill", "watch", "backfill-report-1"]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert "the backfill goes on" in result.stderr
    assert "meta backfill watch backfill-report-1" in result.stderr
    assert result.exit_code != 0


def globals_of(source: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(source, "snippet", "exec"), names)
    return names
