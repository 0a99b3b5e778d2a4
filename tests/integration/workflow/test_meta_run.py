from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from tests.support.world import World
from workflows.messages import RunSnapshot
from workflows.meta_run import RUN_FAILED
from workflows.outcome import Artifact, FailureClass, Outcome, RunState, StepState
from workflows.search import FAILED_STEP_KEY, STATUS_KEY, WORKFLOW_KEY

ARGO = {"argo": {"manifest": "m.yaml"}}
FAILED = Outcome(failure=FailureClass.FAILED, message="pod train: Error (exit code 1)")
RUNNING = None  # in a script: ends when the test says so


def states(run: RunSnapshot) -> dict[str, StepState]:
    return {s.name: s.state for s in run.steps}


async def failure(handle: WorkflowHandle[object, RunSnapshot]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def test_values_and_artifacts_pass_from_step_to_step_and_out(world: World) -> None:
    model = Artifact(name="model", uri="s3://b/model", sha256="ab", size=2)
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
    handle = await world.start(
        {
            "train": {**ARGO, "parameters": {"rate": "${{ inputs.rate * 2 }}"}, "outputs": {"accuracy": "number"}},
            "report": {**ARGO, "parameters": {"text": "got ${{ steps.train.outputs.accuracy }}"}},
        },
        {"rate": 0.5},
        declared={"rate": {"type": "number"}},
        outputs={"accuracy": "${{ steps.train.outputs.accuracy }}"},
    )
    run = await handle.result()
    assert run.state is RunState.SUCCEEDED
    assert run.outputs == {"accuracy": 0.93}
    train, report = world.engine.submitted
    assert (train.parameters, report.parameters) == ({"rate": 1.0}, {"text": "got 0.93"})
    assert world.store.snapshots[handle.id] == run
    assert run.steps[0].artifacts["model"].producer == "train"


async def test_independent_steps_run_side_by_side(world: World) -> None:
    world.engine.script = {"a": [RUNNING], "b": [RUNNING]}
    handle = await world.start({"a": ARGO, "b": ARGO, "c": {**ARGO, "needs": ["a", "b"]}})
    await world.engine.until(lambda: set(world.engine.steps()) == {"a", "b"})
    world.engine.finish("a")
    world.engine.finish("b")
    run = await handle.result()
    assert world.engine.steps()[-1] == "c"
    assert set(states(run).values()) == {StepState.SUCCEEDED}


async def test_a_failed_step_fails_the_run_with_the_engines_message_and_skips_what_needs_it(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    handle = await world.start({"train": ARGO, "deploy": {**ARGO, "needs": ["train"]}, "other": ARGO})
    error = await failure(handle)
    assert error.type == RUN_FAILED
    assert error.message == "step train failed: pod train: Error (exit code 1)"
    run = world.store.snapshots[handle.id]
    assert states(run) == {"train": StepState.FAILED, "deploy": StepState.SKIPPED, "other": StepState.SUCCEEDED}
    assert run.state is RunState.FAILED
    assert next(s.message for s in run.steps if s.name == "deploy") == "needs train, which failed"


async def test_a_when_that_is_false_skips_and_the_run_succeeds(world: World) -> None:
    world.engine.script["evaluate"] = [Outcome(outputs={"accuracy": "0.5"})]
    handle = await world.start(
        {
            "evaluate": {**ARGO, "outputs": {"accuracy": "number"}},
            "deploy": {**ARGO, "when": "steps.evaluate.outputs.accuracy >= 0.9"},
        }
    )
    run = await handle.result()
    assert states(run)["deploy"] is StepState.SKIPPED
    assert world.engine.steps() == ["evaluate"]


async def test_a_when_that_reads_the_state_decides_about_a_failed_dependency_itself(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    handle = await world.start({"train": ARGO, "alarm": {**ARGO, "when": "steps.train.state == 'failed'"}})
    await failure(handle)
    assert states(world.store.snapshots[handle.id])["alarm"] is StepState.SUCCEEDED


async def test_restart_makes_a_new_engine_run_for_each_attempt_until_one_succeeds(world: World) -> None:
    world.engine.script["train"] = [FAILED, FAILED, Outcome()]
    handle = await world.start({"train": {**ARGO, "retry": {"attempts": 3, "backoff": "10ms"}}})
    run = await handle.result()
    assert [s.key.attempt for s in world.engine.submitted] == [1, 2, 3]
    assert len({s.name for s in world.engine.submitted}) == 3
    assert run.steps[0].attempt == 3


async def test_resume_keeps_the_engine_run(world: World) -> None:
    world.engine.script["train"] = [FAILED, Outcome()]
    retry = {"attempts": 2, "strategy": "resume", "backoff": "10ms"}
    run = await (await world.start({"train": {**ARGO, "retry": retry}})).result()
    assert len(world.engine.submitted) == 1
    assert [k.attempt for k in world.engine.resumed] == [2]
    assert run.steps[0].attempt == 2


async def test_the_budget_counts_every_attempt(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    await failure(await world.start({"train": {**ARGO, "retry": {"attempts": 2, "backoff": "10ms"}}}))
    assert len(world.engine.submitted) == 2


async def test_a_refusal_fails_at_once_whatever_the_policy(world: World) -> None:
    world.engine.rejected["train"] = "spec.entrypoint: template 'mian' not found"
    error = await failure(await world.start({"train": {**ARGO, "retry": {"attempts": 5, "backoff": "10ms"}}}))
    assert "template 'mian' not found" in error.message
    assert world.engine.submitted == []


async def test_an_api_that_is_down_costs_no_attempt(world: World) -> None:
    world.engine.unavailable = 2
    run = await (await world.start({"train": ARGO})).result()
    assert run.steps[0].attempt == 1


async def test_lost_is_not_failed_and_is_not_run_again(world: World) -> None:
    world.engine.script["train"] = [Outcome(failure=FailureClass.LOST, message="record gone")]
    handle = await world.start({"train": {**ARGO, "retry": {"attempts": 3, "backoff": "10ms"}}})
    await failure(handle)
    assert states(world.store.snapshots[handle.id])["train"] is StepState.LOST
    assert len(world.engine.submitted) == 1


async def test_cancelling_ends_the_engine_run_before_the_meta_run_is_cancelled(world: World) -> None:
    world.engine.script["train"] = [RUNNING]
    handle = await world.start({"train": ARGO, "deploy": {**ARGO, "needs": ["train"]}})
    await world.engine.until(lambda: world.engine.steps() == ["train"])
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert world.engine.terminated == [world.engine.submitted[0].name]
    run = world.store.snapshots[handle.id]
    assert run.state is RunState.CANCELED
    assert states(run) == {"train": StepState.CANCELLED, "deploy": StepState.CANCELLED}


async def test_cancelling_while_the_engine_is_down_leaves_no_run_behind(world: World) -> None:
    world.engine.unavailable = 1_000_000
    handle = await world.start({"train": ARGO})
    await wait_for_state(handle, "train", StepState.RUNNING)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert len(world.engine.terminated) == 1


async def test_a_cancel_that_comes_while_a_submit_is_under_way_is_not_lost(world: World) -> None:
    world.engine.script["train"] = [RUNNING]
    world.engine.hold_submit = asyncio.Event()
    handle = await world.start({"train": ARGO})
    await world.engine.until(lambda: world.engine.holding)
    await handle.cancel()
    await wait_for_cancel_request(handle)
    world.engine.hold_submit.set()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert world.engine.terminated == [world.engine.submitted[0].name]


async def test_a_step_that_exceeds_its_timeout_is_ended_and_timed_out(world: World) -> None:
    world.engine.script["train"] = [RUNNING]
    handle = await world.start({"train": {**ARGO, "timeout": "1s"}})
    await failure(handle)
    assert world.engine.terminated == [world.engine.submitted[0].name]
    assert states(world.store.snapshots[handle.id])["train"] is StepState.TIMED_OUT


async def test_an_attempt_that_exceeds_its_timeout_is_ended_and_tried_again(world: World) -> None:
    world.engine.script["train"] = [RUNNING, Outcome()]
    step = {**ARGO, "attemptTimeout": "1s", "retry": {"attempts": 2, "backoff": "10ms"}}
    run = await (await world.start({"train": step})).result()
    assert world.engine.terminated == [world.engine.submitted[0].name]
    assert run.steps[0].attempt == 2


async def test_an_output_that_is_not_there_fails_the_step_that_declares_it(world: World) -> None:
    error = await failure(await world.start({"evaluate": {**ARGO, "outputs": {"accuracy": "number"}}}))
    assert "accuracy" in error.message
    assert "evaluate" in error.message


async def test_a_failed_run_without_its_declared_output_still_says_why_it_failed(world: World) -> None:
    world.engine.script["evaluate"] = [FAILED]
    error = await failure(await world.start({"evaluate": {**ARGO, "outputs": {"accuracy": "number"}}}))
    assert error.message == "step evaluate failed: pod train: Error (exit code 1)"


async def test_names_with_hyphens_are_read_with_underscores(world: World) -> None:
    raw = Artifact(name="raw-data", uri="s3://b/raw", sha256="ab", size=2)
    world.engine.script["prepare"] = [Outcome(outputs={"train-rows": "7"}, artifacts={"raw-data": raw})]
    handle = await world.start(
        {
            "prepare": ARGO,
            "train": {
                **ARGO,
                "parameters": {
                    "rows": "${{ steps.prepare.outputs.train_rows }}",
                    "data": "${{ steps.prepare.artifacts.raw_data.uri }}",
                },
            },
        }
    )
    await handle.result()
    assert world.engine.submitted[1].parameters == {"rows": "7", "data": "s3://b/raw"}


async def test_an_expression_that_fails_fails_its_step_and_the_others_go_on_to_their_end(world: World) -> None:
    world.engine.script["side"] = [RUNNING]
    handle = await world.start(
        {"a": ARGO, "b": {**ARGO, "parameters": {"x": "${{ steps.a.outputs.nope }}"}}, "side": ARGO}
    )
    await wait_for_state(handle, "b", StepState.FAILED)
    world.engine.finish("side")
    error = await failure(handle)
    assert error.type == RUN_FAILED
    assert "step b failed: step 'b', parameter 'x': step 'a' has no output 'nope'" in error.message
    run = world.store.snapshots[handle.id]
    assert states(run) == {"a": StepState.SUCCEEDED, "b": StepState.FAILED, "side": StepState.SUCCEEDED}


async def test_outputs_that_cannot_be_computed_fail_the_run_which_is_recorded(world: World) -> None:
    handle = await world.start({"a": ARGO}, outputs={"x": "${{ steps.a.outputs.nope }}"})
    error = await failure(handle)
    assert (error.type, "output 'x': step 'a' has no output 'nope'" in error.message) == (RUN_FAILED, True)
    assert world.store.snapshots[handle.id].state is RunState.FAILED


async def test_outputs_too_large_for_a_history_are_refused_with_the_mend(world: World) -> None:
    world.engine.script["train"] = [Outcome(outputs={"blob": "x" * 300_000})]
    error = await failure(await world.start({"train": ARGO}))
    assert "write large results as an artifact" in error.message


async def test_the_run_can_be_searched_and_read_in_the_web_ui(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    handle = await world.start({"train": ARGO})
    await failure(handle)
    description = await handle.describe()
    found = description.typed_search_attributes
    assert found.get(WORKFLOW_KEY) == "chain"
    assert found.get(STATUS_KEY) == "failed"
    assert found.get(FAILED_STEP_KEY) == "train"


async def wait_for_cancel_request(handle: WorkflowHandle[object, RunSnapshot]) -> None:
    """Until the workflow has seen that it is cancelled, and asked for its activity's cancellation."""
    asked = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_type == asked:
            return


async def wait_for_state(handle: WorkflowHandle[object, RunSnapshot], step: str, state: StepState) -> None:
    async with asyncio.timeout(timedelta(seconds=20).total_seconds()):
        while True:
            run = await handle.query("state", result_type=RunSnapshot)
            if states(run)[step] is state:
                return


async def test_an_object_store_that_is_down_costs_no_attempt(world: World) -> None:
    data = {"data": "s3://meta/given.csv"}
    handle = await world.start({"train": {**ARGO, "artifacts": data, "timeout": "3s"}})
    await failure(handle)
    run = world.store.snapshots[handle.id]
    # tried again until the step's time was over, not refused at the first look
    assert states(run) == {"train": StepState.TIMED_OUT}
    assert run.steps[0].attempt == 1
