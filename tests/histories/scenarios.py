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
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio import activity
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from tests.histories import fanouts
from tests.support.approvals import until_asked
from tests.support.nested import publish
from tests.support.world import World, world
from workers.artifacts import ArtifactStore
from workers.settings import NamedStore, StoreSettings, StoreType
from workflows.child_messages import BACKFILL_TYPE, TICK_TYPE, BackfillPlan, StartBackfill, Tick
from workflows.decisions import Decide, Decided
from workflows.errors import EngineRunLost
from workflows.fanout_messages import CHUNK_TYPE
from workflows.messages import TASK_QUEUE, Reused, RunSnapshot, StepOutcome, Taken
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


async def going_on_after_a_failure(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED]
    told = {"parameters": {"why": "${{ steps.train.state }}: ${{ steps.train.message }}"}}
    return await w.start(
        {"train": {**ARGO, "continueOn": ["failed"]}, "deploy": {**ARGO, **told}},
        outputs={"x": "${{ steps.train.outputs.x }}"},
    )


async def taken_back_after_a_failure(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script |= {"deploy": [FAILED], "compensate_train": [FAILED, Outcome()], "compensate_prepare": [FAILED]}
    undo = {**ARGO, "parameters": {"why": "${{ outcome.message }}"}, "retry": {"attempts": 2, "backoff": "10ms"}}
    return await w.start(
        {
            "prepare": {**ARGO, "compensate": ARGO},
            "train": {**ARGO, "needs": ["prepare"], "compensate": undo},
            "deploy": {**ARGO, "needs": ["train"], "compensate": ARGO},
        },
        last={"tell": {**ARGO, "parameters": {"why": "${{ outcome.message }}"}}},
    )


async def taken_back_on_cancel(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script |= {"deploy": [None], "compensate_train": [None]}
    undo = {**ARGO, "compensate": ARGO}
    handle = await w.start({"train": undo, "deploy": {**undo, "needs": ["train"]}}, last={"tell": ARGO})
    await w.engine.until(lambda: w.engine.steps() == ["train", "deploy"])
    await handle.cancel()
    await w.engine.until(lambda: w.engine.steps()[2:] == ["compensate_train"])
    w.engine.finish("compensate_train")
    return handle


async def cancelled_while_work_is_taken_back(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script |= {"deploy": [FAILED], "compensate_train": [None]}
    handle = await w.start({"train": {**ARGO, "compensate": ARGO}, "deploy": {**ARGO, "needs": ["train"]}})
    await w.engine.until(lambda: w.engine.steps()[2:] == ["compensate_train"])
    await handle.cancel()
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_execution_cancel_requested_event_attributes"):
            break
    w.engine.finish("compensate_train")
    return handle


async def last_steps_after_a_success(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["tell"] = [FAILED]
    return await w.start(
        {"train": {**ARGO, "compensate": ARGO}},
        outputs={"state": "${{ steps.train.state }}"},
        last={
            "clean": ARGO,
            "tell": {**ARGO, "needs": ["clean"], "parameters": {"state": "${{ outcome.state }}"}},
            "alarm": {**ARGO, "when": "outcome.state == 'failed'"},
        },
    )


async def a_run_over_its_time(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["deploy"] = [None]
    undo = {**ARGO, "compensate": ARGO}
    return await w.start(
        {"train": undo, "deploy": {**undo, "needs": ["train"]}, "side": {**ARGO, "needs": ["deploy"]}},
        last={"tell": {**ARGO, "parameters": {"step": "${{ outcome.failed_step }}"}}},
        timeout="1s",
    )


async def an_approval_that_is_decided(w: World) -> WorkflowHandle[object, RunSnapshot]:
    ask = {"approval": {"prompt": "Deploy?", "approvers": ["ann"], "timeout": "1h"}}
    handle = await w.start({"approve": ask, "deploy": {**ARGO, "needs": ["approve"]}})
    await until_asked(handle)
    await handle.signal("decide", {"approve": True, "by": "eve"})
    await handle.execute_update("decide", Decide(approve=True, by="ann", reason="fine"), result_type=Decided)
    return handle


async def an_approval_that_nobody_decides(w: World) -> WorkflowHandle[object, RunSnapshot]:
    return await w.start({"approve": {"approval": {"prompt": "Deploy?", "timeout": "300ms"}}})


async def a_wait_for_time(w: World) -> WorkflowHandle[object, RunSnapshot]:
    past = {"wait": {"until": "2020-01-01T00:00:00Z"}}
    return await w.start({"rest": {"wait": {"duration": "300ms"}}, "past": past})


async def a_wait_for_a_message_without_nats(w: World) -> WorkflowHandle[object, RunSnapshot]:
    return await w.start({"ready": {"wait": {"event": {"subject": "jobs.done", "when": "event.rows > 1"}}}})


async def an_activity_of_another_worker(w: World) -> WorkflowHandle[object, RunSnapshot]:
    tries: list[object] = []

    @activity.defn(name="count_rows")
    async def count_rows(parameters: dict[str, object]) -> dict[str, object]:
        tries.append(parameters)
        if len(tries) == 1:
            raise ValueError("not yet")
        return {"rows": "3"}

    async with Worker(w.client, task_queue="somebody-elses", activities=[count_rows]):
        call = {"activity": {"name": "count_rows", "taskQueue": "somebody-elses"}, "outputs": {"rows": "integer"}}
        handle = await w.start({"count": {**call, "retry": {"attempts": 2, "backoff": "10ms"}}})
        await handle.result()
    return handle


INNER = {"workflow": {"name": "inner"}}


async def a_workflow_as_a_step_that_fails_once(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [FAILED, Outcome(outputs={"accuracy": "0.5"})]
    train = {**ARGO, "outputs": {"accuracy": "number"}}
    publish(w, "inner", {"train": train}, outputs={"accuracy": "${{ steps.train.outputs.accuracy }}"})
    step = {**INNER, "outputs": {"accuracy": "number"}, "retry": {"attempts": 2, "backoff": "10ms"}}
    return await w.start({"nested": step, "deploy": {**ARGO, "when": "steps.nested.outputs.accuracy > 0.4"}})


async def a_workflow_as_a_step_cancelled_with_its_run(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [None]
    publish(w, "inner", {"train": ARGO})
    handle = await w.start({"nested": INNER})
    await w.engine.until(lambda: w.engine.steps() == ["train"])
    while not any(run.parent == handle.id for run in w.store.started.values()):
        await asyncio.sleep(0.01)
    await handle.cancel()
    return handle


async def a_planned_time_of_a_schedule(w: World) -> WorkflowHandle[object, RunSnapshot]:
    day = {"type": "string"}
    schedule = {"every": "1h", "name": "hourly", "inputs": {"day": "${{ event.date }}"}}
    publish(w, "inner", {"train": ARGO}, declared={"day": day}, triggers=[{"schedule": schedule}])
    return await w.client.start_workflow(
        TICK_TYPE, Tick(workflow="inner", trigger="hourly"), id="tick", task_queue=TASK_QUEUE
    )


async def a_backfill_paused_and_with_a_failure(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [None, FAILED, Outcome()]
    handle = await _backfill(w)
    await w.engine.until(lambda: len(w.engine.submitted) == 2)
    await handle.signal("pause", "the source is down")
    w.engine.finish("train")
    while sum(run.state.ended for run in w.store.snapshots.values()) < 2:
        await asyncio.sleep(0.01)
    await handle.signal("resume", "")
    return handle


async def a_backfill_that_was_cancelled(w: World) -> WorkflowHandle[object, RunSnapshot]:
    w.engine.script["train"] = [None]
    handle = await _backfill(w)
    await w.engine.until(lambda: len(w.engine.submitted) == 2)
    while len(w.store.started) < 2:
        await asyncio.sleep(0.01)
    await handle.cancel()
    return handle


async def _backfill(w: World) -> WorkflowHandle[object, RunSnapshot]:
    """Four days, two at a time."""
    publish(w, "inner", {"train": ARGO}, declared={"day": {"type": "string"}})
    start = datetime(2026, 1, 1, tzinfo=UTC)
    plan = BackfillPlan(
        workflow="inner",
        bundle_digest=w.store.published["inner"],
        start=start,
        end=start + timedelta(days=4),
        step=timedelta(days=1),
        parallelism=2,
        inputs={"day": "${{ event.date }}"},
    )
    return await w.client.start_workflow(
        BACKFILL_TYPE, StartBackfill(plan=plan), id="backfill-inner", task_queue=TASK_QUEUE
    )


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
        going_on_after_a_failure,
        taken_back_after_a_failure,
        taken_back_on_cancel,
        cancelled_while_work_is_taken_back,
        last_steps_after_a_success,
        a_run_over_its_time,
        an_approval_that_is_decided,
        an_approval_that_nobody_decides,
        a_wait_for_time,
        a_wait_for_a_message_without_nats,
        an_activity_of_another_worker,
        a_workflow_as_a_step_that_fails_once,
        a_workflow_as_a_step_cancelled_with_its_run,
        a_planned_time_of_a_schedule,
        a_backfill_paused_and_with_a_failure,
        a_backfill_that_was_cancelled,
        fanouts.a_fan_out_inside_the_run,
        fanouts.a_fan_out_whose_item_failed,
        fanouts.a_fan_out_by_chunks,
        fanouts.a_fan_out_by_chunks_cancelled,
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
            await _record_last_chunk(w, name)


async def _record_last_chunk(w: World, name: str) -> None:
    """One of the workflows that the run began for a part of a fan-out, if it did: the smallest."""
    chunks = [one.id async for one in w.client.list_workflows(f"WorkflowType = '{CHUNK_TYPE}'")]
    if chunks:
        last = max(chunks, key=lambda each: int(each.rpartition("-")[2]))
        history = (await w.client.get_workflow_handle(last).fetch_history()).to_json()
        (FOLDER / f"{name}_last_chunk.json").write_text(_of_no_machine(history))


def _of_no_machine(history: str) -> str:
    """Stack traces and identities say where it was recorded; replay does not look at them."""
    return history.replace(f"{REPOSITORY}/", "").replace(f"@{socket.gethostname()}", "@recorder")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:] or list(SCENARIOS)))
