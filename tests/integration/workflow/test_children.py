"""A step that runs another meta-workflow: values in and out, failures, cancellation, attempts, depth."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from tests.support.nested import ARGO, publish
from tests.support.world import World
from workflows.child_messages import MAX_DEPTH
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.naming import request_run_id
from workflows.outcome import Artifact, FailureClass, Outcome, RunState, StepState
from workflows.trace import cause_span_id, span_id, trace_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILED = Outcome(failure=FailureClass.FAILED, message="exit code 1")
INNER = {"workflow": {"name": "inner"}}


async def ended(world: World, handle: WorkflowHandle[object, RunSnapshot]) -> RunSnapshot:
    """The run's last word, however it ended."""
    try:
        return await handle.result()
    except WorkflowFailureError:
        return world.store.snapshots[handle.id]


async def child_of(world: World, handle: WorkflowHandle[object, RunSnapshot]) -> str:
    """Id of the run that the first step has started."""
    while not (known := world.store.snapshots.get(handle.id)) or not known.steps[0].child:
        await asyncio.sleep(0.01)
    return known.steps[0].child


def first(run: RunSnapshot) -> StepSnapshot:
    return run.steps[0]


async def test_values_and_artifacts_go_in_and_outputs_come_out(shared: World) -> None:
    shared.engine.script["train"] = [Outcome(outputs={"accuracy": "0.5"})]
    publish(
        shared,
        "inner",
        {"train": {**ARGO, "parameters": {"rate": "${{ inputs.rate }}"}, "outputs": {"accuracy": "number"}}},
        declared={"rate": {"type": "number"}, "data": {"type": "string"}, "whole": {"type": "object"}},
        outputs={"accuracy": "${{ steps.train.outputs.accuracy }}", "data": "${{ inputs.data }}"},
    )
    step = {
        **INNER,
        "parameters": {"rate": "${{ inputs.rate * 2.0 }}"},
        "artifacts": {"data": "s3://meta/data", "whole": "s3://meta/whole"},
        "outputs": {"accuracy": "number"},
    }
    handle = await shared.start(
        {"nested": step, "after": {**ARGO, "when": "steps.nested.outputs.accuracy == 0.5"}},
        {"rate": 2.0},
        declared={"rate": {"type": "number"}},
        outputs={"data": "${{ steps.nested.outputs.data }}"},
    )
    run = await ended(shared, handle)
    assert (run.state, run.outputs) == (RunState.SUCCEEDED, {"data": "s3://meta/data"})
    child = first(run).child
    assert child == request_run_id("inner", f"{handle.id}/nested/0/1")
    inner = shared.store.snapshots[child]
    assert inner.inputs == {
        "rate": 4.0,
        "data": "s3://meta/data",
        "whole": Artifact(name="whole", uri="s3://meta/whole").model_dump(mode="json", exclude_none=True),
    }
    assert (inner.parent, inner.trigger, inner.state) == (handle.id, "workflow", RunState.SUCCEEDED)
    assert shared.engine.steps() == ["train", "after"]


async def test_the_childs_trace_goes_on_below_the_step(shared: World) -> None:
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    run = await ended(shared, handle)
    inner = shared.store.snapshots[first(run).child]
    assert trace_id(inner.id, inner.trace) == trace_id(run.id, run.trace)
    assert cause_span_id(inner.trace) == span_id(run.id, "step", "nested")
    assert inner.cause is not None
    assert (inner.cause.kind, inner.cause.name) == ("workflow", "step nested of chain")


async def test_the_store_knows_the_child_as_soon_as_it_runs(shared: World) -> None:
    shared.engine.script["train"] = [None]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    await shared.engine.until(lambda: shared.engine.steps() == ["train"])
    child = await child_of(shared, handle)
    while child not in shared.store.started:
        await asyncio.sleep(0.01)
    known = shared.store.started[child]
    assert (known.workflow, known.parent, [step.name for step in known.steps]) == ("inner", handle.id, ["train"])
    assert known.temporal_namespace
    description = await shared.client.get_workflow_handle(child).describe()
    assert (await description.memo())["workflow"] == "inner"
    shared.engine.finish("train")
    assert (await ended(shared, handle)).state is RunState.SUCCEEDED


async def test_a_failed_child_fails_its_step_with_its_id_and_message(shared: World) -> None:
    shared.engine.script["train"] = [FAILED]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    step = first(await ended(shared, handle))
    assert (step.state, step.message) == (
        StepState.FAILED,
        f"run {step.child} failed: step train failed: exit code 1",
    )


async def test_a_second_attempt_is_a_run_of_its_own(shared: World) -> None:
    shared.engine.script["train"] = [FAILED, Outcome()]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": {**INNER, "retry": {"attempts": 2, "backoff": "10ms"}}})
    run = await ended(shared, handle)
    assert run.state is RunState.SUCCEEDED
    assert (first(run).attempt, first(run).child) == (2, request_run_id("inner", f"{handle.id}/nested/0/2"))
    other = shared.store.snapshots[request_run_id("inner", f"{handle.id}/nested/0/1")]
    assert other.state is RunState.FAILED


async def test_cancelling_the_parent_ends_the_childs_engine_run_first(shared: World) -> None:
    shared.engine.script["train"] = [None]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    await shared.engine.until(lambda: shared.engine.steps() == ["train"])
    child = await child_of(shared, handle)
    await handle.cancel()
    run = await ended(shared, handle)
    assert (run.state, first(run).state) == (RunState.CANCELED, StepState.CANCELLED)
    assert len(shared.engine.terminated) == 1
    inner = shared.store.snapshots[child]
    assert (inner.state, first(inner).state) == (RunState.CANCELED, StepState.CANCELLED)
    assert inner.finished_at is not None
    assert run.finished_at is not None
    assert inner.finished_at <= run.finished_at


async def test_a_child_that_is_cancelled_alone_makes_its_step_cancelled(shared: World) -> None:
    shared.engine.script["train"] = [None]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    child = await child_of(shared, handle)
    await shared.client.get_workflow_handle(child).cancel()
    run = await ended(shared, handle)
    assert (run.state, first(run).state) == (RunState.FAILED, StepState.CANCELLED)
    assert first(run).message == f"run {child} was cancelled"


async def test_a_child_that_is_terminated_makes_its_step_lost(shared: World) -> None:
    shared.engine.script["train"] = [None]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": INNER})
    child = await child_of(shared, handle)
    await shared.client.get_workflow_handle(child).terminate()
    step = first(await ended(shared, handle))
    assert (step.state, step.message) == (StepState.LOST, f"run {child} was terminated in Temporal")


async def test_a_child_over_the_steps_time_is_ended(shared: World) -> None:
    shared.engine.script["train"] = [None]
    publish(shared, "inner", {"train": ARGO})
    handle = await shared.start({"nested": {**INNER, "timeout": "1s"}})
    run = await ended(shared, handle)
    assert first(run).state is StepState.TIMED_OUT
    status = (await shared.client.get_workflow_handle(first(run).child).describe()).status
    assert status is WorkflowExecutionStatus.CANCELED


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"workflow": {"name": "nothing"}}, "step 'nested': no workflow 'nothing' is published"),
        (INNER, "step 'nested', inputs of inner: input 'rate' is required"),
        ({**INNER, "parameters": {"rate": 1}, "outputs": {"x": "number"}}, "gave no output 'x'"),
    ],
)
async def test_what_cannot_run_fails_the_step_and_says_why(shared: World, step: dict[str, object], words: str) -> None:
    publish(shared, "inner", {"train": ARGO}, declared={"rate": {"type": "number"}})
    handle = await shared.start({"nested": step})
    found = first(await ended(shared, handle))
    assert found.state is StepState.FAILED
    assert words in found.message


async def test_a_workflow_that_contains_itself_ends_by_the_limit(shared: World) -> None:
    publish(shared, "inner", {"again": INNER})
    handle = await shared.start({"nested": INNER})
    step = first(await ended(shared, handle))
    assert step.state is StepState.FAILED
    assert f"{MAX_DEPTH} at most" in step.message
    assert "does inner contain itself" in step.message
    depth, run = 0, shared.store.snapshots[handle.id]
    while child := first(run).child:
        depth, run = depth + 1, shared.store.snapshots[child]
    assert depth == MAX_DEPTH
