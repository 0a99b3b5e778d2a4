"""`meta retry` against the service, with a scripted engine and artifacts in files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from meta.cli.app import app
from meta.client import MetaClient, RunView
from meta.lineage.events import lineage_events
from meta.trace import attributes as names
from meta.trace.model import Part
from tests.integration.reuse.pages import RETRYING, chain_of, write
from tests.integration.service.servers import Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.files import FileStore
from workflows.errors import Conflict, InvalidInput, NotFound
from workflows.outcome import FailureClass, Outcome, RunState, StepState

CHAIN = chain_of(RETRYING)
FAILED = Outcome(failure=FailureClass.FAILED, message="no rights")


@pytest.fixture
def lake(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "lake")


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, lake: FileStore) -> AsyncGenerator[Rig]:
    """The service and workers; `train` writes a model, and the first `deploy` fails."""
    async with make_rig(temporal, tmp_path, stores=lake.named) as made:
        await made.work(objects=lake.open())
        data, model = await lake.artifact("data", "rows"), await lake.artifact("model", "weights")
        made.engine.script["prepare"] = [Outcome(artifacts={"data": data})]
        made.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
        made.engine.script["deploy"] = [FAILED, Outcome()]
        yield made


def chain(rig: Rig, text: str = CHAIN) -> Path:
    return write(rig.folder / "definitions", text)


async def first_run(rig: Rig, client: MetaClient) -> RunView:
    started = await client.start(chain(rig))
    run = await client.wait(started.id)
    assert run.state is RunState.FAILED
    return run


async def meta(rig: Rig, *words: str) -> str:
    """What a command prints, when all is fine."""
    runner = CliRunner(env={"COLUMNS": "200"})
    result = await asyncio.to_thread(runner.invoke, app, ["--address", rig.address, *words])
    assert result.exit_code == 0, result.output
    return result.output


def taken(run: RunView) -> dict[str, str]:
    return {step.name: step.taken_from.run for step in run.steps if step.taken_from is not None}


async def test_a_retry_takes_over_what_has_finished_and_every_view_says_so(rig: Rig) -> None:
    async with rig.client() as client:
        old = await first_run(rig, client)
        retried = await client.retry(old.id, request_id="again")
        assert (retried.created, retried.taken, retried.again) == (True, ["prepare", "train"], {"deploy": "it failed"})
        assert not (await client.retry(old.id, request_id="again")).created
        with pytest.raises(Conflict, match="other inputs"):
            await client.retry(old.id, request_id="again", from_step="train")
        new = await client.wait(retried.id)
        assert (new.state, new.outputs, new.retry_of) == (RunState.SUCCEEDED, {"accuracy": 0.93}, old.id)
        assert taken(new) == {"prepare": old.id, "train": old.id}
        assert rig.engine.steps() == ["prepare", "train", "deploy", "deploy"]
        assert rig.engine.submitted[-1].artifacts["model"].uri.endswith("/model")
        assert (await client.get(old.id)).retried_as == [new.id]
        page = await meta(rig, "get", new.id)
        assert f"retries {old.id}" in page
        assert f"taken from run {old.id} (retry)" in page
        assert f"retried as {new.id}" in await meta(rig, "get", old.id)
        spans = (await client.trace(new.id)).spans
        theirs = {span.name: span.span_id for span in (await client.trace(old.id)).spans}
        train = next(span for span in spans if span.name == "step train")
        assert (train.attributes[names.TAKEN_HOW], train.attributes[names.TAKEN_RUN]) == ("retry", old.id)
        assert [link.span_id for link in train.links] == [theirs["step train"]]
        whole = next(span for span in spans if span.part is Part.RUN)
        assert [link.span_id for link in whole.links] == [theirs["run chain"]]
        assert sum(span.part is Part.ATTEMPT for span in spans) == 1
    record = await rig.store.traces.record(new.id)
    definition = (await rig.store.bundles.get(new.bundle_digest)).definition
    told = lineage_events(record, definition, namespace="test", over=[s.name for s in new.steps])
    assert [one.mark for one in told] == ["start", "start/deploy/1", "end/deploy/1", "end"]
    assert [one.name for one in (told[1].event.inputs or [])] == [str(rig.folder / "lake" / "model")]


async def test_a_retry_under_a_mended_definition_begins_where_it_changes(rig: Rig) -> None:
    async with rig.client() as client:
        old = await first_run(rig, client)
        mended = chain(
            rig, CHAIN.replace("outputs: {accuracy: number}", "timeout: 1h\n    outputs: {accuracy: number}")
        )
        once = await client.wait((await client.retry(old.id, source=mended)).id)
        assert taken(once) == {"prepare": old.id, "train": old.id}
        twice = await client.retry(once.id, from_step="deploy")
        assert taken(await client.wait(twice.id)) == {"prepare": old.id, "train": old.id}
        other = await client.retry(old.id, inputs={"rate": 2})
        assert (other.taken, other.again["train"]) == (["prepare"], "it reads input 'rate', which has changed")
        run = await client.wait(other.id)
        assert (run.inputs["rate"], taken(run)) == (2.0, {"prepare": old.id})
        cached = await client.wait((await client.start(mended)).id)
        train = cached.steps[1].taken_from
        assert train is not None
        assert (train.how, train.run) == ("cache", old.id)
        uncached = await client.wait((await client.start(mended, no_cache=True)).id)
        assert taken(uncached) == {}


async def test_an_artifact_that_is_not_what_it_was_is_made_again(rig: Rig, lake: FileStore) -> None:
    async with rig.client() as client:
        old = await first_run(rig, client)
        lake.write("model", "w3ights")
        retried = await client.retry(old.id)
        assert retried.taken == ["prepare"]
        assert "sha256" in retried.again["train"]
        assert retried.again["deploy"] == "it follows train, which runs again"


async def test_what_cannot_be_retried_is_refused_with_a_hint(rig: Rig) -> None:
    rig.engine.script["train"] = [None, Outcome()]
    async with rig.client() as client:
        started = await client.start(chain(rig))
        await rig.engine.until(lambda: "train" in rig.engine.steps())
        with pytest.raises(Conflict, match="has not ended") as refused:
            await client.retry(started.id)
        assert f"meta cancel {started.id}" in refused.value.hint
        await client.cancel(started.id)
        cancelled = await client.wait(started.id)
        assert (await client.retry(cancelled.id)).again["train"] == "it was cancelled"
        with pytest.raises(NotFound, match="has no step 'trian'") as unknown:
            await client.retry(cancelled.id, from_step="trian")
        assert "train" in unknown.value.hint
        with pytest.raises(NotFound):
            await client.retry("chain-nowhere")
        simple = chain(rig, CHAIN[: CHAIN.index("  train:")])
        good = await client.wait((await client.start(simple)).id)
        with pytest.raises(InvalidInput, match="nothing has changed") as nothing:
            await client.retry(good.id)
        assert "--from" in nothing.value.hint
        again = await client.wait((await client.retry(good.id, from_step="prepare")).id)
        assert [step.state for step in again.steps] == [StepState.SUCCEEDED]
        with pytest.raises(InvalidInput, match="is of chain"):
            await client.retry(good.id, source=chain(rig, CHAIN.replace("name: chain", "name: other")))


async def test_the_command_says_what_is_taken_over_and_why_the_rest_runs(rig: Rig) -> None:
    async with rig.client() as client:
        old = await first_run(rig, client)
    words = ("--from", "train", "-i", "note=7", "--definition", str(chain(rig)), "--follow")
    printed = await meta(rig, "retry", old.id, *words)
    assert f"a retry of {old.id}" in printed
    assert "taken over: prepare" in printed
    assert "runs again: train: it was asked for" in printed
    told = await meta(rig, "retry", old.id, "-i", "note=8", "--output", "json")
    assert json.loads(told)["taken"] == ["prepare", "train"]
