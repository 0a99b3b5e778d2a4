"""How a step's engine run is ended: stopped, terminated after its grace, and called what the workflow meant."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from tests.support.world import World
from workflows.errors import EngineRejected, EngineUnavailable
from workflows.messages import RunSnapshot
from workflows.outcome import FailureClass, StepState
from workflows.spec.steps import CANCEL_GRACE

ARGO = {"argo": {"manifest": "m.yaml"}}


async def cancelled(world: World, step: dict[str, object]) -> WorkflowHandle[object, RunSnapshot]:
    world.engine.script["train"] = [None]
    steps: dict[str, object] = {"train": step}
    handle = await world.start(steps)
    await world.engine.until(lambda: world.engine.steps() == ["train"])
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    return handle


@pytest.mark.parametrize(
    ("step", "grace"),
    [({}, CANCEL_GRACE.total_seconds()), ({"cancelGrace": "2m"}, 120.0), ({"cancelGrace": "0s"}, 0.0)],
)
async def test_a_cancelled_run_has_the_grace_of_its_step_to_stop(
    world: World, step: dict[str, object], grace: float
) -> None:
    await cancelled(world, {**ARGO, **step})
    (given,) = world.engine.graces
    assert max(grace - 20, 0) <= given <= grace  # less what has passed since the cancellation


async def test_a_run_over_its_time_has_the_same_grace(world: World) -> None:
    world.engine.script["train"] = [None]
    handle = await world.start({"train": {**ARGO, "timeout": "1s", "cancelGrace": "2m"}})
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert 100 < world.engine.graces[0] <= 120
    assert world.store.snapshots[handle.id].steps[0].state is StepState.TIMED_OUT


async def test_the_grace_does_not_begin_anew_with_each_try(world: World) -> None:
    world.engine.refuse_end = [EngineUnavailable("not yet"), EngineUnavailable("not yet")]
    await cancelled(world, {**ARGO, "cancelGrace": "2m"})
    first, second, third = world.engine.graces
    assert first - second > 0.5, "a second passes between the first two tries"
    assert second - third > 1.0, "and two between the next"


async def test_an_engine_that_refuses_to_end_a_run_is_asked_until_it_does(world: World) -> None:
    world.engine.refuse_end = [EngineRejected("403: forbidden")]
    handle = await cancelled(world, {**ARGO})
    assert len(world.engine.terminated) == 2
    assert world.store.snapshots[handle.id].steps[0].state is StepState.CANCELLED


@pytest.mark.parametrize("ends_as", [FailureClass.FAILED, FailureClass.CANCELLED, FailureClass.LOST])
async def test_a_cancelled_step_is_cancelled_whatever_the_engine_calls_it(world: World, ends_as: FailureClass) -> None:
    world.engine.ends_as = ends_as
    handle = await cancelled(world, {**ARGO, "retry": {"attempts": 3, "backoff": "10ms"}})
    run = world.store.snapshots[handle.id]
    assert (run.steps[0].state, run.steps[0].message) == (StepState.CANCELLED, "cancelled")
    assert len(world.engine.submitted) == 1
    assert list(world.store.cut.values()) == [FailureClass.CANCELLED]


async def test_an_attempt_over_its_time_is_timed_out_whatever_the_engine_calls_it(world: World) -> None:
    world.engine.script["train"] = [None]
    world.engine.ends_as = FailureClass.FAILED
    retry = {"attempts": 2, "backoff": "10ms", "retryOn": ["failed"]}
    handle = await world.start({"train": {**ARGO, "attemptTimeout": "1s", "retry": retry}})
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    step = world.store.snapshots[handle.id].steps[0]
    assert step.state is StepState.TIMED_OUT
    assert step.message == "not done within 1s\nnot tried again, 1 left: retryOn leaves timed_out out"
    assert list(world.store.cut.values()) == [FailureClass.TIMED_OUT]


async def test_a_run_that_is_cancelled_while_a_time_out_ends_its_engine_run_waits_for_that(world: World) -> None:
    world.engine.script["train"] = [None]
    world.engine.refuse_end = [EngineUnavailable("not yet"), EngineUnavailable("not yet")]
    handle = await world.start({"train": {**ARGO, "timeout": "200ms"}})
    async with asyncio.timeout(20):
        while not (await handle.query("state", result_type=RunSnapshot)).steps[0].message.startswith("cancelled: its"):
            pass
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert world.engine.terminated == [world.engine.submitted[0].name] * 3
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
