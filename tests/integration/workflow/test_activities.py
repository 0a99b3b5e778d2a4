"""Steps that run an activity of somebody else's worker, which here really is another worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from tests.support.approvals import Handle, step_of, until_running
from tests.support.world import World
from tests.support.world import world as make_world
from workflows import foreign
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import StepState
from workflows.values import JsonObject

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUEUE = "somebody-elses"
tries: dict[str, int] = {}
ended: list[str] = []


@activity.defn(name="count_rows")
async def count_rows(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"rows": str(parameters["rows"]), "kind": type(parameters).__name__, "more-of-it": 1}


@activity.defn(name="plain")
async def plain(parameters: dict[str, Any]) -> Any:
    return parameters.get("give")


@activity.defn(name="fails")
async def fails(parameters: dict[str, Any]) -> int:
    name = str(parameters["name"])
    tries[name] = tries.get(name, 0) + 1
    if tries[name] > parameters.get("times", 1000):
        return tries[name]
    if parameters.get("final"):
        raise ApplicationError("no such table", type="NoTable", non_retryable=True)
    raise ValueError("not yet")


@activity.defn(name="hangs")
async def hangs(parameters: dict[str, Any]) -> None:
    try:
        while True:
            if parameters.get("beats", True):
                activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        ended.append(str(parameters["name"]))
        raise


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncGenerator[World]:
    async with (
        make_world() as w,
        Worker(
            w.client,
            task_queue=QUEUE,
            activities=[count_rows, plain, fails, hangs],
            graceful_shutdown_timeout=timedelta(0),
            default_heartbeat_throttle_interval=timedelta(milliseconds=100),
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        ),
    ):
        yield w


def call(name: str, parameters: JsonObject | None = None, **more: Any) -> dict[str, object]:
    source = {"name": name, "taskQueue": QUEUE} | more.pop("source", {})
    return {"activity": source, "parameters": parameters or {}, **more}


async def result(world: World, step: dict[str, object]) -> StepSnapshot:
    handle: Handle = await world.start({"call": step})
    try:
        run = await handle.result()
    except WorkflowFailureError:
        run = world.store.snapshots[handle.id]
    return step_of(run, "call")


async def test_parameters_cross_as_plain_json_and_an_object_becomes_outputs_of_declared_types(world: World) -> None:
    step = await result(world, call("count_rows", {"rows": 3}, outputs={"rows": "integer"}))
    assert step.outputs == {"rows": 3, "kind": "dict", "more_of_it": 1}
    assert (step.state, step.engine, step.attempt) == (StepState.SUCCEEDED, "", 1)


@pytest.mark.parametrize(("given", "outputs"), [(None, {}), ([1, 2], {"result": [1, 2]}), ("x", {"result": "x"})])
async def test_other_results_are_one_output(world: World, given: Any, outputs: JsonObject) -> None:
    assert (await result(world, call("plain", {"give": given}))).outputs == outputs


async def test_a_result_of_another_type_than_declared_is_no_success(world: World) -> None:
    step = await result(world, call("count_rows", {"rows": "many"}, outputs={"rows": "integer"}))
    assert step.state is StepState.FAILED
    assert "output 'rows': expected an integer" in step.message


async def test_attempts_are_the_steps_own_and_an_error_that_is_final_ends_them(world: World) -> None:
    retry = {"attempts": 3, "backoff": "10ms"}
    step = await result(world, call("fails", {"name": "twice", "times": 2}, retry=retry))
    assert (step.state, step.outputs, step.attempt) == (StepState.SUCCEEDED, {"result": 3}, 3)
    step = await result(world, call("fails", {"name": "ever"}, retry={**retry, "attempts": 2, "strategy": "resume"}))
    assert (step.state, step.message, tries["ever"]) == (StepState.FAILED, "ValueError: not yet", 2)
    step = await result(world, call("fails", {"name": "final", "final": True}, retry=retry))
    assert (step.state, step.message, tries["final"]) == (StepState.FAILED, "NoTable: no such table", 1)


async def test_time_outs_have_classes_and_words(world: World) -> None:
    slow, dead, nobody = await asyncio.gather(
        result(world, call("hangs", {"name": "slow"}, attemptTimeout="500ms")),
        result(world, call("hangs", {"name": "dead", "beats": False}, source={"heartbeatTimeout": "500ms"})),
        result(world, call("x", source={"taskQueue": "nobody", "scheduleTimeout": "500ms"})),
    )
    assert (slow.state, slow.message) == (StepState.TIMED_OUT, "not done within 500ms")
    assert dead.state is StepState.LOST
    assert dead.message.startswith("no heartbeat for 500ms")
    assert nobody.state is StepState.FAILED
    assert nobody.message.startswith("no worker of task queue nobody took activity x within 500ms")


async def test_a_cancelled_run_ends_when_its_activity_has_ended(world: World) -> None:
    handle: Handle = await world.start({"call": call("hangs", {"name": "cut"}, source={"heartbeatTimeout": "30s"})})
    async with asyncio.timeout(20):
        while step_of(await handle.query("state", result_type=RunSnapshot), "call").state is not StepState.RUNNING:
            await asyncio.sleep(0.02)
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField("activity_task_scheduled_event_attributes"):
                break
        while not (await handle.describe()).raw_description.pending_activities[0].HasField("last_heartbeat_time"):
            await asyncio.sleep(0.02)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert "cut" in ended
    assert step_of(world.store.snapshots[handle.id], "call").state is StepState.CANCELLED


async def test_a_worker_that_does_not_confirm_the_end_holds_a_cancelled_run_up_for_a_while_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "CONFIRM", timedelta(milliseconds=300))
    handle: Handle = await world.start({"call": call("hangs", {"name": "deaf", "beats": False})})
    async with asyncio.timeout(20):
        while not [a for a in (await handle.describe()).raw_description.pending_activities if a.last_worker_identity]:
            await asyncio.sleep(0.02)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert "deaf" not in ended
    assert step_of(world.store.snapshots[handle.id], "call").state is StepState.CANCELLED


async def test_an_activity_that_nobody_has_taken_is_cancelled_at_once(world: World) -> None:
    handle: Handle = await world.start(
        {"call": call("x", source={"taskQueue": "nobody"}), "rest": {"wait": {"duration": "1h"}}}
    )
    await until_running(handle, "rest")
    await handle.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(WorkflowFailureError):
            await handle.result()
