"""What a step does after an attempt that did not succeed, on a real Temporal."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from tests.support.world import World
from workflows.errors import EngineRejected, EngineRunLost
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import FailedNode, FailureClass, Outcome, StepState

ARGO = {"argo": {"manifest": "m.yaml"}}
KILLED = FailedNode(name="train", phase="Failed", message="OOMKilled", exit_code=137, log=["epoch 1", "Killed"])
FAILED = Outcome(failure=FailureClass.FAILED, phase="Failed", message="child failed", failed_nodes=[KILLED])
CANCELLED = Outcome(failure=FailureClass.CANCELLED, message="stopped by somebody")
LOST = Outcome(failure=FailureClass.LOST, message="record gone")
RUNNING = None


def step(attempts: int, **changes: object) -> dict[str, object]:
    retry = {"attempts": attempts, "backoff": "10ms", **changes}
    return {"train": {**ARGO, "retry": retry}}


async def failed_step(world: World, handle: WorkflowHandle[object, RunSnapshot]) -> StepSnapshot:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return world.store.snapshots[handle.id].steps[0]


def made(world: World) -> list[int]:
    """Attempts that made a run of their own."""
    return [submission.key.attempt for submission in world.engine.submitted]


def resumed(world: World) -> list[int]:
    return [key.attempt for key in world.engine.resumed]


async def test_auto_resumes_where_the_engine_can(world: World) -> None:
    world.engine.script["train"] = [FAILED, Outcome()]
    run = await (await world.start(step(2, strategy="auto"))).result()
    assert (made(world), resumed(world)) == ([1], [2])
    assert run.steps[0].attempt == 2


@pytest.mark.parametrize("refusal", [EngineRejected("Cannot retry"), EngineRunLost("it is gone")])
async def test_auto_starts_a_new_run_when_a_resume_is_refused_and_that_is_one_attempt(
    world: World, refusal: EngineRejected | EngineRunLost
) -> None:
    world.engine.script["train"] = [FAILED]
    world.engine.refuse_resume = refusal
    train = await failed_step(world, await world.start(step(3, strategy="auto")))
    assert (made(world), resumed(world)) == ([1, 2, 3], [2, 3])
    assert (train.state, train.attempt) == (StepState.FAILED, 3)
    assert len({submission.name for submission in world.engine.submitted}) == 3


async def test_the_new_run_after_a_refused_resume_is_the_one_that_a_cancel_ends(world: World) -> None:
    world.engine.script["train"] = [FAILED, RUNNING]
    world.engine.refuse_resume = EngineRunLost("it is gone")
    handle = await world.start(step(2, strategy="auto"))
    await world.engine.until(lambda: made(world) == [1, 2])
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert world.engine.terminated == [world.engine.submitted[1].name]


async def test_auto_restarts_after_a_time_out_because_the_run_was_ended(world: World) -> None:
    world.engine.script["train"] = [RUNNING, Outcome()]
    steps = step(2, strategy="auto")
    steps["train"] = {**ARGO, "attemptTimeout": "1s", "retry": {"attempts": 2, "strategy": "auto", "backoff": "10ms"}}
    await (await world.start(steps)).result()
    assert (made(world), resumed(world)) == ([1, 2], [])


async def test_resume_alone_fails_when_it_is_refused(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    world.engine.refuse_resume = EngineRejected("Cannot retry workflow")
    train = await failed_step(world, await world.start(step(3, strategy="resume")))
    assert (made(world), resumed(world)) == ([1], [2])
    assert "Cannot retry workflow" in train.message


async def test_a_lost_run_is_run_again_where_on_lost_says_so_and_within_the_budget(world: World) -> None:
    world.engine.script["train"] = [LOST, FAILED, LOST, Outcome()]
    steps = step(3, strategy="resume")
    steps["train"] = {**ARGO, "onLost": "restart", "retry": {"attempts": 3, "backoff": "10ms", "strategy": "resume"}}
    train = await failed_step(world, await world.start(steps))
    assert (made(world), resumed(world)) == ([1, 2], [3])
    assert (train.state, train.attempt) == (StepState.LOST, 3)


async def test_a_run_that_somebody_ended_is_run_again_only_where_retry_on_names_it(world: World) -> None:
    world.engine.script["train"] = [CANCELLED, Outcome()]
    await (await world.start(step(2, retryOn=["cancelled"]))).result()
    assert made(world) == [1, 2]


async def test_what_retry_on_leaves_out_is_not_tried_again_and_the_step_says_why(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    train = await failed_step(world, await world.start(step(3, retryOn=["timed_out"])))
    assert made(world) == [1]
    assert train.message == "child failed\nnot tried again, 2 left: retryOn leaves failed out"


async def test_an_expression_over_the_outcome_decides(world: World) -> None:
    other = FAILED.model_copy(update={"failed_nodes": [KILLED.model_copy(update={"exit_code": 1})]})
    world.engine.script["train"] = [FAILED, other]
    killed = "outcome.failed_nodes.exists(n, n.exit_code == 137)"
    train = await failed_step(world, await world.start(step(5, retryOn=killed)))
    assert made(world) == [1, 2]
    assert (train.state, train.attempt) == (StepState.FAILED, 2)
    assert train.message.endswith("not tried again, 3 left: retryOn is false")


async def test_an_expression_that_cannot_be_computed_fails_the_step_and_says_why(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    train = await failed_step(world, await world.start(step(5, retryOn="outcome.failed_nodes[3].exit_code == 1")))
    assert made(world) == [1]
    assert train.state is StepState.FAILED
    assert train.message.startswith("child failed\nnot tried again: step 'train', retryOn: ")
    assert "index 3 of a list of 1" in train.message


async def test_a_failed_step_keeps_the_nodes_that_it_failed_by_with_their_last_lines(world: World) -> None:
    world.engine.script["train"] = [FAILED]
    train = await failed_step(world, await world.start({"train": ARGO}))
    assert train.failed_nodes == [KILLED]
