"""Engine runs of a fan-out's items: left alone while their run goes on, ended when nobody is left to end them."""

from __future__ import annotations

from tests.integration.sweep.rig import Rig, eventually
from workflows.outcome import RunState

FAN_OUT = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps:
  each:
    argo: {manifest: step.yaml}
    foreach: {range: 3}
"""


async def begun(rig: Rig) -> str:
    run = await rig.client.start(rig.chain(FAN_OUT))
    await eventually(lambda: rig.states() == ["Running"] * 3, "all items have their engine runs")

    async def known() -> bool:
        return len(await rig.store.engine_runs.awaited("argo", None, 10)) == 3

    await eventually(known, "the store knows them")
    return run.id


async def test_runs_of_items_are_left_alone_and_their_logs_say_whose_they_are(rig: Rig) -> None:
    run_id = await begun(rig)
    for number, name in enumerate(rig.argo.workflows):
        rig.argo.log_lines[name] = [("main", f"line {number}")]
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 20, "the service has swept many times")
    assert rig.states() == ["Running"] * 3
    assert [one async for one in rig.client.orphans()] == []
    lines = {(one.step, one.text) async for one in rig.client.logs(run_id, "each")}
    assert {step for step, _ in lines} == {"each[0]", "each[1]", "each[2]"}
    assert {text for _, text in lines} == {"line 0", "line 1", "line 2"}


async def test_runs_of_items_whose_run_was_terminated_in_temporal_are_ended(rig: Rig) -> None:
    run_id = await begun(rig)
    await rig.temporal.get_workflow_handle(run_id).terminate(reason="by hand")
    assert (await rig.watched(run_id)).state is RunState.TERMINATED
    await eventually(lambda: set(rig.states()) == {"Failed"}, "the engine runs of all items are ended")
