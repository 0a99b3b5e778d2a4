"""Runs of fan-outs whose histories are kept; see `tests.histories.scenarios`."""

from __future__ import annotations

from temporalio.client import WorkflowHandle

from tests.support.world import World
from workflows.messages import RunSnapshot
from workflows.outcome import FailureClass, Outcome

ARGO = {"argo": {"manifest": "m.yaml"}}


async def a_fan_out_inside_the_run(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.decides["train"] = lambda s: Outcome(outputs={"loss": s.key.index})
    return await w.start(
        {
            "train": {
                **ARGO,
                "foreach": {"matrix": {"rate": [0.1, 0.2], "depth": [1, 2]}, "parallelism": 3},
                "parameters": {"rate": "${{ item.rate }}", "number": "${{ index }}"},
            },
            "none": {**ARGO, "foreach": []},
            "report": {**ARGO, "parameters": {"losses": "${{ steps.train.outputs.loss }}"}},
        }
    )


async def a_fan_out_whose_item_failed(w: World) -> WorkflowHandle[object, RunSnapshot]:
    failed = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")
    w.engine.decides["train"] = lambda s: failed if s.key.index == 2 else None
    return await w.start({"train": {**ARGO, "foreach": {"range": 5, "parallelism": 3}}})


async def a_fan_out_by_chunks(w: World) -> WorkflowHandle[object, RunSnapshot]:
    return await w.start({"train": {**ARGO, "foreach": {"range": 203, "parallelism": 20}}})


async def a_fan_out_by_chunks_cancelled(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.decides["train"] = lambda s: None
    handle = await w.start({"train": {**ARGO, "foreach": {"range": 201, "parallelism": 2}}})
    await w.engine.until(lambda: w.engine.running == 2)
    await handle.cancel()
    return handle
