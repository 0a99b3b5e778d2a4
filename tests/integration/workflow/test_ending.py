"""What follows the end of a run's steps: work is taken back, and the steps of `finally` run."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from tests.support.world import World
from workflows.messages import RunSnapshot, StepRole
from workflows.outcome import FailureClass, Outcome, RunState, StepState
from workflows.search import FAILED_STEP_KEY, STATUS_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARGO = {"argo": {"manifest": "m.yaml"}}
UNDO = {**ARGO, "compensate": ARGO}
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")
Handle = WorkflowHandle[object, RunSnapshot]


@pytest.fixture
def world(shared: World) -> World:
    return shared


async def failure(handle: Handle) -> str:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause.message


async def state_of(world: World, handle: Handle, step: str) -> StepState:
    run = await handle.query("state", result_type=RunSnapshot)
    return next((one.state for one in run.steps if one.name == step), StepState.PENDING)


def submitted(world: World, step: str) -> dict[str, object]:
    return dict(next(one.parameters for one in world.engine.submitted if one.key.step == step))


async def test_what_was_done_is_taken_back_in_reverse_order_when_a_later_step_fails(world: World) -> None:
    world.engine.script = {"a": [Outcome(outputs={"path": "/a"})], "d": [FAILED]}
    undo = {
        **ARGO,
        "parameters": {
            "path": "${{ steps.a.outputs.path }}",
            "why": "${{ outcome.state }}/${{ outcome.failed_step }}/${{ outcome.message }}",
        },
    }
    handle = await world.start(
        {
            "a": {**ARGO, "compensate": undo},
            "b": {**UNDO, "needs": ["a"]},
            "c": {**ARGO, "needs": ["b"]},
            "d": {**UNDO, "needs": ["c"]},
            "e": {**UNDO, "needs": ["d"]},
        }
    )
    assert await failure(handle) == "step d failed: Error (exit code 1)"
    assert world.engine.steps() == ["a", "b", "c", "d", "compensate_b", "compensate_a"]
    assert submitted(world, "compensate_a") == {"path": "/a", "why": "failed/d/step d failed: Error (exit code 1)"}
    run = world.store.snapshots[handle.id]
    undone = [(s.name, s.state) for s in run.steps if s.role is StepRole.COMPENSATION]
    assert undone == [("compensate_b", StepState.SUCCEEDED), ("compensate_a", StepState.SUCCEEDED)]
    assert (await handle.describe()).typed_search_attributes[FAILED_STEP_KEY] == "d"


async def test_nothing_is_taken_back_of_a_run_that_succeeds(world: World) -> None:
    run = await (await world.start({"a": UNDO})).result()
    assert world.engine.steps() == ["a"]
    assert [step.name for step in run.steps] == ["a"]


async def test_a_cancelled_run_is_canceled_when_its_work_is_taken_back_and_a_second_cancel_is_too_late(
    world: World,
) -> None:
    world.engine.script = {"b": [None], "compensate_a": [None]}
    handle = await world.start({"a": UNDO, "b": {**UNDO, "needs": ["a"]}})
    await world.engine.until(lambda: world.engine.steps() == ["a", "b"])
    await handle.cancel()
    await world.engine.until(lambda: world.engine.steps()[2:] == ["compensate_a"])
    await handle.cancel()
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    world.engine.finish("compensate_a")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    run = world.store.snapshots[handle.id]
    assert run.state is RunState.CANCELED
    assert {s.name: s.state for s in run.steps} == {
        "a": StepState.SUCCEEDED,
        "b": StepState.CANCELLED,
        "compensate_a": StepState.SUCCEEDED,
    }
    assert world.engine.terminated == [world.engine.submitted[1].name]


async def test_a_cancel_while_a_failed_run_takes_back_its_work_comes_too_late(world: World) -> None:
    world.engine.script = {"b": [FAILED], "compensate_a": [None]}
    handle = await world.start({"a": UNDO, "b": {**ARGO, "needs": ["a"]}}, last={"tell": ARGO})
    await world.engine.until(lambda: world.engine.steps()[2:] == ["compensate_a"])
    await handle.cancel()
    while await state_of(world, handle, "compensate_a") is StepState.PENDING:
        pass
    world.engine.finish("compensate_a")
    assert await failure(handle) == "step b failed: Error (exit code 1)"
    assert world.engine.steps() == ["a", "b", "compensate_a", "tell"]
    assert world.engine.terminated == []


async def test_a_compensation_that_fails_is_told_and_the_others_go_on(world: World) -> None:
    world.engine.script = {"c": [FAILED], "compensate_b": [FAILED], "compensate_a": [FAILED, Outcome()]}
    again = {**ARGO, "retry": {"attempts": 2, "backoff": "10ms"}}
    handle = await world.start(
        {"a": {**ARGO, "compensate": again}, "b": {**UNDO, "needs": ["a"]}, "c": {**ARGO, "needs": ["b"]}},
        last={"tell": {**ARGO, "parameters": {"why": "${{ outcome.message }}"}}},
    )
    message = "step c failed: Error (exit code 1)\nnot taken back: b (compensate_b failed: Error (exit code 1))"
    assert await failure(handle) == message
    assert world.engine.steps()[3:] == ["compensate_b", "compensate_a", "compensate_a", "tell"]
    assert submitted(world, "tell") == {"why": message}


async def test_the_last_steps_run_after_a_success_and_need_each_other(world: World) -> None:
    handle = await world.start(
        {"a": ARGO},
        outputs={"state": "${{ steps.a.state }}"},
        last={
            "tell": {
                **ARGO,
                "needs": ["clean"],
                "parameters": {"text": "${{ steps.clean.state }} ${{ outcome.state }} ${{ steps.a.state }}"},
            },
            "clean": ARGO,
            "alarm": {**ARGO, "when": "outcome.state != 'succeeded'"},
        },
    )
    run = await handle.result()
    assert world.engine.steps() == ["a", "clean", "tell"]
    assert submitted(world, "tell") == {"text": "succeeded succeeded succeeded"}
    assert {s.name: (s.role, s.state) for s in run.steps[1:]} == {
        "tell": (StepRole.FINALLY, StepState.SUCCEEDED),
        "clean": (StepRole.FINALLY, StepState.SUCCEEDED),
        "alarm": (StepRole.FINALLY, StepState.SKIPPED),
    }
    assert run.outputs == {"state": "succeeded"}


async def test_the_last_steps_run_after_a_cancel_that_came_while_nothing_had_begun(world: World) -> None:
    world.engine.hold_submit = asyncio.Event()
    handle = await world.start(
        {"a": ARGO, "b": {**ARGO, "needs": ["a"]}},
        last={"tell": {**ARGO, "parameters": {"state": "${{ outcome.state }}", "b": "${{ steps.b.state }}"}}},
    )
    await world.engine.until(lambda: world.engine.holding)
    await handle.cancel()
    world.engine.hold_submit.set()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert submitted(world, "tell") == {"state": "canceled", "b": "cancelled"}


async def test_a_last_step_that_fails_fails_a_run_that_had_succeeded(world: World) -> None:
    world.engine.script = {"tell": [FAILED]}
    handle = await world.start({"a": UNDO}, last={"tell": ARGO, "after": {**ARGO, "needs": ["tell"]}})
    assert await failure(handle) == "finally: tell failed: Error (exit code 1)"
    assert world.engine.steps() == ["a", "tell"], "what had succeeded is not taken back"
    attributes = (await handle.describe()).typed_search_attributes
    assert (attributes[FAILED_STEP_KEY], attributes[STATUS_KEY]) == ("tell", "failed")


async def test_a_last_step_that_fails_is_told_beside_the_failure_of_the_run(world: World) -> None:
    world.engine.script = {"a": [FAILED], "tell": [FAILED]}
    handle = await world.start({"a": ARGO}, last={"tell": ARGO})
    assert await failure(handle) == "step a failed: Error (exit code 1)\nfinally: tell failed: Error (exit code 1)"
    assert (await handle.describe()).typed_search_attributes[FAILED_STEP_KEY] == "a"


async def test_a_run_over_its_time_ends_what_runs_and_takes_back_what_was_done(world: World) -> None:
    world.engine.script = {"b": [None], "compensate_a": [None]}
    handle = await world.start(
        {"a": UNDO, "b": {**UNDO, "needs": ["a"], "continueOn": ["cancelled"]}, "c": {**ARGO, "needs": ["b"]}},
        last={"tell": {**ARGO, "parameters": {"why": "${{ outcome.failed_step }} ${{ outcome.message }}"}}},
        timeout="500ms",
    )
    await world.engine.until(lambda: world.engine.steps()[2:] == ["compensate_a"])
    assert world.engine.terminated == [world.engine.submitted[1].name]
    world.engine.finish("compensate_a")
    message = "not done within the run's timeout of 500ms; ended: b"
    assert await failure(handle) == message
    assert submitted(world, "tell") == {"why": f"b {message}"}
    run = world.store.snapshots[handle.id]
    assert {s.name: (s.state, s.message) for s in run.steps[:3]} == {
        "a": (StepState.SUCCEEDED, ""),
        "b": (StepState.CANCELLED, "the run's timeout of 500ms was over"),
        "c": (StepState.CANCELLED, "not started"),
    }
    assert not run.steps[1].continued


async def test_a_run_within_its_time_is_as_any_other(world: World) -> None:
    assert (await (await world.start({"a": ARGO}, timeout="1h")).result()).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("word", "step", "state"),
    [
        ("failed", {}, StepState.FAILED),
        ("lost", {}, StepState.LOST),
        ("timedOut", {"timeout": "200ms"}, StepState.TIMED_OUT),
        ("timed_out", {"attemptTimeout": "200ms"}, StepState.TIMED_OUT),
        ("cancelled", {}, StepState.CANCELLED),
    ],
)
async def test_a_run_goes_on_after_an_end_that_it_is_told_to_go_on_after(
    world: World, word: str, step: dict[str, object], state: StepState
) -> None:
    world.engine.script["a"] = [None if step else Outcome(failure=FailureClass(state.value), message="why")]
    handle = await world.start(
        {
            "a": {**UNDO, **step, "continueOn": [word]},
            "b": {**ARGO, "needs": ["a"], "parameters": {"a": "${{ steps.a.state }}: ${{ steps.a.message }}"}},
        },
        outputs={"x": "${{ steps.a.outputs.x }}"},
    )
    run = await handle.result()
    assert (run.steps[0].state, run.steps[0].continued) == (state, True)
    assert submitted(world, "b") == {"a": f"{state}: {run.steps[0].message}"}
    assert world.engine.steps() == ["a", "b"], "what has not succeeded is not taken back"
    assert run.outputs == {"x": None}


async def test_another_end_than_those_fails_the_run(world: World) -> None:
    world.engine.script["a"] = [FAILED]
    handle = await world.start({"a": {**ARGO, "continueOn": ["lost"]}, "b": {**ARGO, "needs": ["a"]}})
    assert await failure(handle) == "step a failed: Error (exit code 1)"
    assert world.engine.steps() == ["a"]


async def test_an_output_that_a_continued_step_has_not_is_an_error_that_names_it(world: World) -> None:
    world.engine.script["a"] = [FAILED]
    steps = {"a": {**ARGO, "continueOn": ["failed"]}, "b": {**ARGO, "parameters": {"x": "${{ steps.a.outputs.x }}"}}}
    assert "step 'a' has no output 'x': it failed" in await failure(await world.start(dict(steps)))
