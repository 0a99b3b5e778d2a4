"""The runs whose histories are kept, and how to record them: `python -m tests.histories.scenarios` (or a name).

A recorded history is never recorded again: it stands for runs that are in flight somewhere when this software is
upgraded. A change that it no longer replays with needs a patch in the workflow (`workflow.patched`), and a new
scenario beside it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import WorkflowFailureError, WorkflowHandle

from tests.support.world import World, world
from workers.artifacts import ArtifactStore
from workers.settings import NamedStore, StoreSettings, StoreType
from workflows.errors import EngineRunLost
from workflows.messages import Reused, RunSnapshot, StepOutcome, Taken
from workflows.outcome import Artifact, FailureClass, Outcome

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
ARGO = {"argo": {"manifest": "m.yaml"}}
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")

Scenario = Callable[[World], Awaitable[WorkflowHandle[object, RunSnapshot]]]
LAKE = Path("/tmp/meta-workflows-lake")
"""A store that the engine of the scenarios cannot read."""


def two_stores() -> ArtifactStore:
    """The lake, and a common store beside it that takes copies."""
    LAKE.mkdir(exist_ok=True)
    lake = NamedStore(type=StoreType.FILE, serves=(LAKE.as_uri(),))
    return ArtifactStore(StoreSettings(staging=f"{LAKE.as_uri()}-copies/"), {"lake": lake})


async def values_artifacts_and_a_gate(w: World) -> WorkflowHandle[object, RunSnapshot]:
    model = Artifact(name="model", uri="s3://meta/model", sha256="ab", size=2)
    w.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
    return await w.start(
        {
            "prepare": ARGO,
            "train": {
                **ARGO,
                "needs": ["prepare"],
                "parameters": {"rate": "${{ inputs.rate }}"},
                "outputs": {"accuracy": "number"},
            },
            "deploy": {**ARGO, "when": "steps.train.outputs.accuracy >= 0.9"},
            "rollback": {**ARGO, "when": "steps.train.outputs.accuracy < 0.9"},
        },
        {"rate": 0.1},
        declared={"rate": {"type": "number"}},
        outputs={"accuracy": "${{ steps.train.outputs.accuracy }}"},
    )


async def restart_then_success(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, Outcome()]
    return await w.start({"train": {**ARGO, "retry": {"attempts": 2, "backoff": "10ms"}}})


async def resume_then_success(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, Outcome()]
    return await w.start({"train": {**ARGO, "retry": {"attempts": 2, "strategy": "resume", "backoff": "10ms"}}})


async def retried_by_hand_between_attempts(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, None]
    handle = await w.start({"train": {**ARGO, "retry": {"attempts": 2, "backoff": "2s"}}})
    while not w.store.ended:
        await asyncio.sleep(0.01)
    w.engine.retry_by_hand("train")
    while len(w.store.submitted) < 2:
        await asyncio.sleep(0.01)
    w.engine.finish("train")
    return handle


async def failure_and_skip(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED]
    return await w.start({"train": ARGO, "deploy": {**ARGO, "needs": ["train"]}, "side": ARGO})


async def step_timeout(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [None]
    return await w.start({"train": {**ARGO, "timeout": "300ms"}})


async def time_outs_with_names(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script |= {"train": [None, Outcome()], "side": [None]}
    retry = {"attempts": 2, "backoff": "10ms"}
    return await w.start(
        {
            "train": {**ARGO, "attemptTimeout": "300ms", "timeout": "1h", "retry": retry},
            "side": {**ARGO, "timeout": "300ms"},
        }
    )


async def cancelled_while_waiting(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [None]
    handle = await w.start({"train": ARGO, "deploy": {**ARGO, "needs": ["train"]}})
    await w.engine.until(lambda: w.engine.steps() == ["train"])
    await handle.cancel()
    return handle


async def resume_refused_then_restart(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, FAILED, Outcome()]
    w.engine.refuse_resume = EngineRunLost("workflow is gone and cannot be retried in place")
    return await w.start({"train": {**ARGO, "retry": {"attempts": 3, "strategy": "auto", "backoff": "10ms"}}})


async def retry_on_an_expression(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, Outcome()]
    expression = "outcome.failed_nodes.all(n, n.exit_code == 1) && outcome.attempt == 1"
    return await w.start({"train": {**ARGO, "retry": {"attempts": 3, "retryOn": expression, "backoff": "10ms"}}})


async def retry_on_that_cannot_be_computed(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED]
    expression = "outcome.failed_nodes[0].exit_code == 1"
    return await w.start({"train": {**ARGO, "retry": {"attempts": 3, "retryOn": expression, "backoff": "10ms"}}})


async def lost_then_restart(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [Outcome(failure=FailureClass.LOST, message="record gone"), Outcome()]
    return await w.start({"train": {**ARGO, "onLost": "restart", "retry": {"attempts": 2, "backoff": "10ms"}}})


async def an_expression_that_fails_its_step(w: World) -> WorkflowHandle[object, RunSnapshot]:
    return await w.start(
        {"a": ARGO, "b": {**ARGO, "parameters": {"x": "${{ steps.a.outputs.nope }}"}}, "c": ARGO},
        outputs={"x": "${{ steps.c.state }}"},
    )


async def an_artifact_copied_for_its_consumer(w: World) -> WorkflowHandle[object, RunSnapshot]:
    model = LAKE / "model.txt"
    model.write_text("weights")
    made = Artifact(name="model", uri=model.as_uri())
    w.engine.script["train"] = [Outcome(artifacts={"model": made})]
    w.engine.script["deploy"] = [FAILED, Outcome()]
    passed = {"model": "${{ steps.train.artifacts.model }}"}
    return await w.start(
        {"train": ARGO, "deploy": {**ARGO, "artifacts": passed, "retry": {"attempts": 2, "backoff": "10ms"}}}
    )


async def a_failure_told_while_another_step_runs(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script |= {"train": [FAILED], "side": [None]}
    alarm = {**ARGO, "when": "steps.train.state == 'failed'"}
    handle = await w.start({"train": ARGO, "side": ARGO, "deploy": {**ARGO, "needs": ["train"]}, "alarm": alarm})
    while not (known := w.store.snapshots.get(handle.id)) or not all(known.steps[at].state.ended for at in (0, 2)):
        await asyncio.sleep(0.01)
    while not any(key.step == "alarm" for key in w.store.ended):
        await asyncio.sleep(0.01)
    w.engine.finish("side")
    return handle


CACHED = {**ARGO, "cache": {"ttl": "1h", "key": "v${{ 1 + 1 }}"}, "outputs": {"accuracy": "number"}}


async def a_cache_miss_that_is_kept(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"})]
    return await w.start({"train": CACHED, "deploy": {**ARGO, "needs": ["train"]}})


async def a_cache_hit_and_an_input_without_a_digest(w: World) -> WorkflowHandle[object, RunSnapshot]:
    await (await a_cache_miss_that_is_kept(w)).result()
    data = LAKE / "rows.txt"
    data.write_text("rows")
    w.engine.script["other"] = [None]
    other = {**ARGO, "cache": True, "artifacts": {"data": data.as_uri()}}
    handle = await w.start({"train": CACHED, "other": other, "deploy": {**ARGO, "needs": ["train"]}})
    while not any(key.step == "deploy" and key.meta_run == handle.id for key in w.store.ended):
        await asyncio.sleep(0.01)
    await w.engine.until(lambda: "other" in w.engine.steps())
    w.engine.finish("other")
    return handle


async def a_retry_with_two_steps_taken_over(w: World) -> WorkflowHandle[object, RunSnapshot]:
    def reused(step: str, **outputs: float) -> Reused:
        taken = Taken(how="retry", run="chain-0", step=step, at=datetime(2026, 1, 2, tzinfo=UTC))
        return Reused(taken_from=taken, outcome=StepOutcome(outputs={**outputs}))

    follow = {**ARGO, "parameters": {"accuracy": "${{ steps.train.outputs.accuracy }}"}}
    return await w.start(
        {"prepare": ARGO, "train": {**ARGO, "needs": ["prepare"]}, "deploy": follow},
        outputs={"accuracy": "${{ steps.train.outputs.accuracy }}"},
        retry_of="chain-0",
        reuse={"prepare": reused("prepare"), "train": reused("train", accuracy=0.93)},
    )


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        values_artifacts_and_a_gate,
        restart_then_success,
        resume_then_success,
        retried_by_hand_between_attempts,
        failure_and_skip,
        step_timeout,
        time_outs_with_names,
        cancelled_while_waiting,
        resume_refused_then_restart,
        retry_on_an_expression,
        retry_on_that_cannot_be_computed,
        lost_then_restart,
        an_expression_that_fails_its_step,
        an_artifact_copied_for_its_consumer,
        a_failure_told_while_another_step_runs,
        a_cache_miss_that_is_kept,
        a_cache_hit_and_an_input_without_a_digest,
        a_retry_with_two_steps_taken_over,
    )
}


async def record(names: list[str]) -> None:
    for name in names:
        path = FOLDER / f"{name}.json"
        if path.exists():
            print(f"{path.name} exists and stays as it is")
            continue
        async with world(objects=two_stores()) as w:
            handle = await SCENARIOS[name](w)
            try:
                await handle.result()
            except WorkflowFailureError as error:
                print(f"{name}: {error.cause}")
            path.write_text(_of_no_machine((await handle.fetch_history()).to_json()))
            print(f"wrote {path.name}")


def _of_no_machine(history: str) -> str:
    """Stack traces and identities say where it was recorded; replay does not look at them."""
    return history.replace(f"{REPOSITORY}/", "").replace(f"@{socket.gethostname()}", "@recorder")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:] or list(SCENARIOS)))
