"""Engine runs that nobody waits for are ended by the service; nobody else's are."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client

from meta.client import MetaClient
from meta.config import GrpcConfig
from meta.processes import spawn
from tests.integration.sweep.rig import Rig, eventually, installation, step_of
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.support.ports import free_port
from tests.support.temporal import temporal_server
from workers.engines.json_view import child
from workflows.outcome import RunState, StepState
from workflows.values import JsonObject

OVER = ["Failed", "FAILED"]
GOING = ["Running", "RUNNING"]


async def terminate(rig: Rig, run_id: str) -> None:
    await rig.temporal.get_workflow_handle(run_id).terminate(reason="by hand")


async def test_the_engine_runs_of_a_run_terminated_in_temporal_are_ended_and_that_is_written_down(rig: Rig) -> None:
    run = await rig.start()
    assert rig.states() == GOING
    await terminate(rig, run.id)
    assert (await rig.watched(run.id)).state is RunState.TERMINATED
    await eventually(lambda: rig.states() == OVER, "both engine runs are ended")
    noted = await rig.until(run.id, lambda r: all(step.note for step in r.steps))
    assert [step.state for step in noted.steps] == [StepState.LOST, StepState.LOST]
    assert all("ended" in step.note for step in noted.steps)


async def test_a_run_whose_submit_was_under_way_when_it_was_terminated_is_ended_too(rig: Rig) -> None:
    """The worker died between the create and its record, so that only the engine knows of the run."""
    run = await rig.start()
    key = f"{run.id}/one/0/7"
    body = _copy(next(iter(rig.argo.workflows.values())), "stray", key)
    await terminate(rig, run.id)
    rig.argo.workflows["stray"] = body
    await rig.watched(run.id)
    await eventually(lambda: rig.argo.phase("stray") == "Failed", "the stray run is ended")


async def test_an_engine_that_cannot_confirm_is_asked_until_it_does(rig: Rig) -> None:
    run = await rig.start()
    rig.argo.faults.bursts = rig.kfp.faults.bursts = 8
    await terminate(rig, run.id)
    await rig.watched(run.id)
    await eventually(lambda: rig.states() == OVER, "both engine runs are ended")


async def test_runs_of_a_workflow_that_was_deleted_in_temporal_are_ended(rig: Rig) -> None:
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

    run = await rig.start()
    request = DeleteWorkflowExecutionRequest(
        namespace="default", workflow_execution=WorkflowExecution(workflow_id=run.id)
    )
    await rig.temporal.workflow_service.delete_workflow_execution(request)
    assert (await rig.watched(run.id)).state is RunState.TERMINATED
    await eventually(lambda: rig.states() == OVER, "both engine runs are ended")


async def test_live_runs_are_left_alone_round_after_round(rig: Rig) -> None:
    run = await rig.start()
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
    assert rig.states() == GOING
    assert rig.argo.requests["terminate"] == rig.kfp.requests["terminate"] == 0
    assert (await rig.client.get(run.id)).state is RunState.RUNNING


async def test_a_live_run_that_the_store_does_not_know_yet_is_left_alone(rig: Rig, tmp_path: Path) -> None:
    """Temporal itself is asked: here by a service whose store is empty, as a new one's is."""
    run = await rig.start()
    async with installation(rig.temporal, tmp_path / "new", rig.argo, rig.kfp) as new:
        await new.serve()
        rounds = rig.kfp.requests["list"]
        await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
        assert [news async for news in new.client.orphans()] == []
    assert rig.states() == GOING
    assert (await rig.client.get(run.id)).state is RunState.RUNNING


async def test_two_services_sweep_side_by_side(rig: Rig) -> None:
    run = await rig.start()
    first, client = rig.service, rig.client
    await rig.serve()
    try:
        await terminate(rig, run.id)
        await rig.watched(run.id)
        await eventually(lambda: rig.states() == OVER, "both engine runs are ended")
        await rig.until(run.id, lambda r: all(step.note for step in r.steps))
    finally:
        await client.close()
        assert first is not None
        await first.__aexit__(None, None, None)


async def test_a_second_run_of_the_awaited_name_is_ended_and_the_awaited_one_stays(rig: Rig) -> None:
    """As a create that KFP carried out long after its answer was lost."""
    run = await rig.start()
    two = step_of(run, "two").run
    assert two is not None
    double = rig.kfp.add_run(rig.kfp.runs[two.uid])
    await eventually(lambda: rig.kfp.state(double) == "FAILED", "the second one is ended")
    assert rig.kfp.state(two.uid) == "RUNNING"
    rig.kfp.finish(two.uid)
    await rig.until(run.id, lambda r: step_of(r, "two").state is StepState.SUCCEEDED)


async def test_what_an_earlier_attempt_left_is_ended_while_the_run_goes_on(rig: Rig) -> None:
    run = await rig.start(
        """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps:
  one:
    argo: {manifest: step.yaml}
    retry: {attempts: 2, backoff: 10ms}
"""
    )
    (first,) = rig.argo.workflows
    rig.argo.finish(first, "Failed")
    await rig.until(run.id, lambda r: r.steps[0].attempt == 2 and len(rig.argo.workflows) == 2)
    # one more of the first attempt, which no answer ever told of
    rig.argo.workflows["late"] = _copy(rig.argo.workflows[first], "late", f"{run.id}/one/0/1")
    await eventually(lambda: rig.argo.phase("late") == "Failed", "it is ended")
    second = next(name for name in rig.argo.workflows if name not in (first, "late"))
    assert rig.argo.phase(second) == "Running"


async def test_another_installations_runs_on_the_same_engines_are_left_alone_by_both(
    rig: Rig, tmp_path: Path, temporal: Client
) -> None:
    here = await rig.start()
    async with (
        temporal_server() as other_temporal,
        installation(other_temporal, tmp_path / "there", rig.argo, rig.kfp) as there,
    ):
        await there.serve()
        await there.work()
        theirs = await there.start()
        rounds = rig.kfp.requests["list"]
        await eventually(lambda: rig.kfp.requests["list"] >= rounds + 60, "both have swept many times")
        assert rig.states() == ["Running", "Running", "RUNNING", "RUNNING"]
        await rig.temporal.get_workflow_handle(here.id).terminate()
        await rig.watched(here.id)
        await eventually(lambda: sorted(rig.states()) == sorted(OVER + GOING), "only ours are ended")
        assert (await there.client.get(theirs.id)).state is RunState.RUNNING


async def test_a_service_that_is_pointed_at_another_temporal_ends_nothing(rig: Rig) -> None:
    run = await rig.start()
    await rig.stop_serving()
    async with temporal_server() as other:
        temporal = rig.config.temporal.model_copy(update={"address": other.service_client.config.target_host})
        rig.config = rig.config.model_copy(update={"temporal": temporal})
        await rig.serve()
        assert "no longer knows" in (await rig.watched(run.id)).message
        rounds = rig.kfp.requests["list"]
        await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
        assert {getattr(one, "reason", "") async for one in rig.client.orphans()} == {"unknown meta-run"}
        assert rig.states() == GOING
        await rig.stop_serving()


async def test_a_run_made_long_after_its_meta_run_has_ended_is_not_taken_for_its_own(rig: Rig) -> None:
    """Request ids come again: another installation may run what had the same id here."""
    run = await rig.start()
    stray = _copy(next(iter(rig.argo.workflows.values())), "stray", f"{run.id}/one/0/7")
    later = datetime.now(UTC) + timedelta(hours=5)
    stray["metadata"] = {**child(stray, "metadata"), "creationTimestamp": later.isoformat()}
    await terminate(rig, run.id)
    rig.argo.workflows["stray"] = stray
    await rig.watched(run.id)
    await eventually(lambda: rig.states() == ["Failed", "Running", "FAILED"], "only what is surely ours is ended")
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
    assert rig.argo.phase("stray") == "Running"


async def test_a_service_that_is_killed_sweeps_when_it_is_back(
    temporal: Client, tmp_path: Path, argo: ArgoStub, kfp: KfpStub
) -> None:
    async with installation(temporal, tmp_path / "here", argo, kfp) as rig:
        address = f"127.0.0.1:{free_port()}"
        rig.config = rig.config.model_copy(update={"grpc": GrpcConfig(address=address)})
        file = _config_file(rig)
        command = [sys.executable, "-m", "meta.service", "--config", str(file)]
        await rig.work()
        with (tmp_path / "log").open("wb") as log:
            process = await spawn(command, stdout=log, stderr=log)
            try:
                rig.client = MetaClient(address, patience_s=30)
                run = await rig.start()
                await process.stop(0)
                await terminate(rig, run.id)
                process = await spawn(command, stdout=log, stderr=log)
                await eventually(lambda: rig.states() == OVER, "both engine runs are ended")
                assert (await rig.watched(run.id)).state is RunState.TERMINATED
            finally:
                await process.stop(5)
        await rig.client.close()
        assert "which nobody waits for" in (tmp_path / "log").read_text()


async def test_a_round_does_not_wait_for_an_engine_that_hangs(rig: Rig) -> None:
    run = await rig.start()
    rig.argo.faults.slow_lists = 3600.0
    await terminate(rig, run.id)
    await rig.watched(run.id)
    await eventually(lambda: rig.states() == ["Running", "FAILED"], "the other engine's run is ended")
    rig.argo.faults.slow_lists = 0.0
    await eventually(lambda: rig.states() == OVER, "and then this one's")


def _copy(workflow: JsonObject, name: str, key: str) -> JsonObject:
    """One more workflow like another, under a name and with a run key of its own."""
    metadata = child(workflow, "metadata")
    annotations = {**child(metadata, "annotations"), "meta-workflows/key": key}
    return {
        "metadata": {**metadata, "name": name, "uid": f"uid-{name}", "annotations": annotations},
        "spec": child(workflow, "spec"),
        "status": {"phase": "Running"},
    }


def _config_file(rig: Rig) -> Path:
    config = rig.config
    file = rig.folder / "meta.toml"
    file.write_text(
        f'[grpc]\naddress = "{config.grpc.address}"\n[store]\nurl = "{config.store.url}"\n'
        f'[temporal]\naddress = "{config.temporal.address}"\n'
        f'[engines.argo]\nkind = "argo"\nurl = "{rig.argo.url}"\n'
        f'[engines.kfp]\nkind = "kfp"\nurl = "{rig.kfp.url}"\n'
    )
    return file
