"""Engine runs as calls in a user's own workflow: started once, whatever dies; ended when it is cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.worker import Replayer

from meta.client import MetaClient, RunView
from tests.integration.own_workflows import flows
from tests.integration.own_workflows.conftest import MANIFEST, Theirs
from tests.integration.own_workflows.flows import (
    CONVERTER,
    WORKFLOWS,
    AskFirst,
    Fallback,
    RunPublished,
    TrainAndDeploy,
)
from workflows.outcome import RunState


async def test_values_and_artifacts_pass_between_engines_and_the_users_data_converter_stays(theirs: Theirs) -> None:
    async with theirs.worker():
        handle = await theirs.start(TrainAndDeploy.run, 0.5)
        result = await handle.result()
    assert result["accuracy"] == 0.93
    (argo,), (kfp,) = theirs.argo.submitted, theirs.kfp.submitted
    assert argo.parameters == {"rate": 0.5}
    assert kfp.parameters == {"rows": 12, "note": "${{ no expression }}", "none": None}
    assert kfp.artifacts["dataset"].sha256 == hashlib.sha256(b"an artifact").hexdigest()
    assert kfp.artifacts["dataset"].uri.endswith("/object")
    async with theirs.rig.client() as client:
        runs = {one.id: one for one in (await client.list(workflow="train-and-deploy")).runs}
    assert sorted(runs) == sorted(result["runs"])
    assert all(one.state is RunState.SUCCEEDED and handle.id in one.request_id for one in runs.values())
    history = await handle.fetch_history()
    assert all(
        payload.metadata["encoding"] == b"binary/theirs"
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
        for payload in event.activity_task_scheduled_event_attributes.input.payloads
    )
    assert theirs.client.data_converter is CONVERTER
    await Replayer(workflows=WORKFLOWS, data_converter=CONVERTER, plugins=[theirs.plugin()]).replay_workflow(history)


async def test_a_published_meta_workflow_is_called_by_its_name(theirs: Theirs) -> None:
    async with theirs.rig.client() as client, theirs.worker():
        await client.publish(theirs.rig.chain())
        done = await (await theirs.start(RunPublished.run, "chain")).result()
        assert done["outputs"] == {"rate": 3}
        assert (await client.get(done["run"])).state is RunState.SUCCEEDED


async def test_a_failure_says_which_step_of_which_run_and_can_be_handled(theirs: Theirs) -> None:
    async with theirs.worker():
        failed = await (await theirs.start(Fallback.run, "broken.yaml")).result()
        missing = await (await theirs.start(Fallback.run, "brokn.yaml")).result()
    assert (failed["type"], failed["step"], failed["step_state"]) == ("META_RUN_FAILED", "broken", "failed")
    assert "no disk" in failed["message"]
    assert theirs.argo.steps() == ["broken", "restore"]
    assert missing["type"] == "DEFINITION_INVALID"
    assert "there is no file 'brokn.yaml'" in missing["problems"][0]


@pytest.mark.parametrize("approve", [True, False])
async def test_a_person_decides_between_two_engines(theirs: Theirs, approve: bool) -> None:
    async with theirs.worker():
        handle = await theirs.start(AskFirst.run, 0.5)
        async with theirs.rig.client() as client, asyncio.timeout(60):
            run = await asked(client)
            (step,) = run.steps
            assert step.asked is not None
            assert (step.asked.prompt, step.asked.approvers) == ("Train on ${{ 0.5 }}?", ["ada"])
            assert step.asked.artifacts["dataset"].uri.endswith("/object")
            decide = client.decide
            await decide(run.id, approve, by="ada", reason="I have seen it")
            result = await handle.result()
    if approve:
        assert result == {"by": "ada", "approved": True}
        assert theirs.kfp.steps() == ["train"]
    else:
        assert (result["type"], result["by"], result["reason"]) == ("META_REJECTED", "ada", "I have seen it")
        assert theirs.kfp.submitted == []


async def asked(client: MetaClient) -> RunView:
    """The run that waits for a person."""
    while True:
        for one in (await client.list(workflow="ask-first")).runs:
            run = await client.get(one.id)
            if run.steps[0].asked is not None:
                return run
        await asyncio.sleep(0.1)


async def test_a_cancelled_call_returns_when_its_engine_run_has_ended(theirs: Theirs) -> None:
    theirs.argo.script["prepare"] = [None]
    async with theirs.worker():
        handle = await theirs.start(TrainAndDeploy.run, 1)
        await theirs.argo.until(lambda: bool(theirs.argo.submitted))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert theirs.argo.terminated == [theirs.argo.submitted[0].name]
    async with theirs.rig.client() as client:
        (run,) = (await client.list(workflow="train-and-deploy")).runs
    assert run.state is RunState.CANCELED
    assert theirs.kfp.submitted == []


async def test_a_worker_that_stops_hands_the_call_over_and_new_files_do_not_start_it_again(theirs: Theirs) -> None:
    theirs.argo.script["prepare"] = [None]
    async with theirs.worker():
        handle = await theirs.start(TrainAndDeploy.run, 1)
        await theirs.argo.until(lambda: bool(theirs.argo.submitted))
    assert theirs.argo.terminated == []
    (theirs.files / "prepare.yaml").write_text(MANIFEST.replace("busybox:1.36", "busybox:1.37"))
    async with theirs.worker():
        theirs.argo.finish("prepare", theirs.prepared)
        assert (await handle.result())["accuracy"] == 0.93
    assert (len(theirs.argo.submitted), len(theirs.kfp.submitted)) == (1, 1)


@asynccontextmanager
async def process(theirs: Theirs) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Their worker as a process of its own, ready; it is killed at the end."""
    address = theirs.client.service_client.config.target_host
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-m", flows.__name__, address, theirs.rig.address, str(theirs.files),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert one.stdout is not None
        async with asyncio.timeout(120):
            assert await one.stdout.readline() == b"ready\n"
        yield one
    finally:
        one.kill()
        await one.wait()


@pytest.mark.prove
async def test_a_worker_is_killed_and_the_next_one_takes_its_call_up(theirs: Theirs) -> None:
    theirs.argo.script["prepare"] = [None]
    async with process(theirs):
        handle = await theirs.start(TrainAndDeploy.run, 1)
        await theirs.argo.until(lambda: bool(theirs.argo.submitted), 60)
    theirs.argo.finish("prepare", theirs.prepared)
    async with theirs.worker(), asyncio.timeout(60):
        assert (await handle.result())["accuracy"] == 0.93
    assert (len(theirs.argo.submitted), len(theirs.kfp.submitted)) == (1, 1)


@pytest.mark.prove
async def test_workers_are_killed_before_and_in_a_cancellation_and_nothing_is_left_behind(theirs: Theirs) -> None:
    theirs.argo.script["prepare"], theirs.kfp.script["train"] = [None], [None]
    async with process(theirs):
        handle = await theirs.start(TrainAndDeploy.run, 1)
        await theirs.argo.until(lambda: bool(theirs.argo.submitted), 60)
    theirs.argo.finish("prepare", theirs.prepared)
    async with process(theirs):
        await theirs.kfp.until(lambda: bool(theirs.kfp.submitted), 60)
    await handle.cancel()
    async with process(theirs), asyncio.timeout(60):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (len(theirs.argo.submitted), len(theirs.kfp.submitted)) == (1, 1)
    assert theirs.kfp.terminated == [theirs.kfp.submitted[0].name]
    assert theirs.argo.terminated == []
