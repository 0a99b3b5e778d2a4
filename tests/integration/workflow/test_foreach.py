"""A step that runs once for each item, inside the run and by chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from tests.support.world import World
from workers.engines.base import Submission
from workflows.fanout_messages import CHUNK_TYPE
from workflows.messages import ItemCounts, RunSnapshot, StepSnapshot
from workflows.outcome import Artifact, FailureClass, Outcome, StepState

ARGO = {"argo": {"manifest": "m.yaml"}}
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")

Handle = WorkflowHandle[object, RunSnapshot]


@pytest.fixture(params=["inside the run", "by chunks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to run a fan-out; chunks have at most three items."""
    if request.param == "by chunks":
        in_chunks(monkeypatch)
    return str(request.param)


def in_chunks(monkeypatch: pytest.MonkeyPatch, size: int = 3) -> None:
    monkeypatch.setattr("workflows.fanout.INLINE_ITEMS", size)


def chosen(number: int) -> Callable[[Submission], Outcome | None]:
    """The item of this index fails, those below it succeed with their index, those above it go on for ever."""

    def decide(submission: Submission) -> Outcome | None:
        index = submission.key.index - 1
        if index == number:
            return FAILED
        return Outcome(outputs={"index": str(index)}) if index < number else None

    return decide


async def failed(world: World, handle: Handle, step: str = "train") -> StepSnapshot:
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    return next(one for one in world.store.snapshots[handle.id].steps if one.name == step)


async def running_chunks(world: World) -> list[str]:
    """As the server, not its search, which lags, has them."""
    found = world.client.list_workflows(f"WorkflowType = '{CHUNK_TYPE}'")
    states = [await world.client.get_workflow_handle(one.id).describe() async for one in found]
    return [one.id for one in states if one.status is WorkflowExecutionStatus.RUNNING]


async def test_results_are_lists_in_the_items_order_that_later_steps_read(world: World, way: str) -> None:
    def train(submission: Submission) -> Outcome:
        rate = submission.parameters["rate"]
        model = Artifact(name="model", uri=f"s3://b/{submission.key.index}")
        return Outcome(outputs={"loss": f"{rate}"}, artifacts={"model": model})

    world.engine.decides["train"] = train
    handle = await world.start(
        {
            "train": {
                **ARGO,
                "foreach": {"matrix": {"rate": [0.1, 0.2], "depth": "${{ inputs.depths }}"}, "parallelism": 5},
                "parameters": {
                    "rate": "${{ item.rate * 2.0 }}",
                    "name": "${{ index }}-${{ item.depth }}-${{ inputs.name }}",
                },
                "outputs": {"loss": "number"},
            },
            "none": {**ARGO, "foreach": {"range": {"to": "${{ size(inputs.depths) - 2 }}"}}},
            "numbers": {**ARGO, "foreach": {"range": {"from": 3, "to": 8, "step": 2}}},
            "check": {
                **ARGO,
                "needs": ["numbers"],
                "foreach": "${{ steps.train.artifacts.model }}",
                "parameters": {
                    "model": "${{ item.uri }}",
                    "loss": "${{ steps.train.outputs.loss[index] }}",
                    "of": "${{ steps.none.outputs.any }}",
                },
            },
        },
        {"depths": [1, 2], "name": "x"},
        declared={"depths": {"type": "list"}, "name": {"type": "string"}},
        outputs={"losses": "${{ steps.train.outputs.loss }}", "first": "${{ steps.train.artifacts.model[0].uri }}"},
    )
    run = await handle.result()
    assert run.outputs == {"losses": [0.2, 0.2, 0.4, 0.4], "first": "s3://b/1"}
    by_step = {name: [s for s in world.engine.submitted if s.key.step == name] for name in ("train", "check")}
    found = {s.key.index: s.parameters["name"] for s in by_step["train"]}
    assert found == {1: "0-1-x", 2: "1-2-x", 3: "2-1-x", 4: "3-2-x"}
    checked = sorted((s.key.index, s.parameters["loss"], s.parameters["model"]) for s in by_step["check"])
    assert checked == [(1, 0.2, "s3://b/1"), (2, 0.2, "s3://b/2"), (3, 0.4, "s3://b/3"), (4, 0.4, "s3://b/4")]
    train_step, none, numbers, _ = run.steps
    assert train_step.items == ItemCounts(total=4, succeeded=4)
    assert (none.state, none.items) == (StepState.SUCCEEDED, ItemCounts(total=0))
    assert numbers.items == ItemCounts(total=3, succeeded=3)
    items = [world.store.items[run.id, "numbers", place].item for place in (1, 2, 3)]
    assert items == [3, 5, 7]


async def test_no_more_items_run_at_a_time_than_the_step_allows(world: World, way: str) -> None:
    world.engine.decides["train"] = lambda _: None
    handle = await world.start({"train": {**ARGO, "foreach": {"range": 10, "parallelism": 4}}})
    await world.engine.until(lambda: len(world.engine.running()) >= 2)
    for done in range(10):
        await world.engine.until(
            lambda most=min(4, 10 - done): len(world.engine.running()) >= most or way == "by chunks"
        )
        while not world.engine.running():  # at the end of a chunk its share is not in use
            await asyncio.sleep(0.01)
        world.engine.finish_one()
    assert (await handle.result()).steps[0].items == ItemCounts(total=10, succeeded=10)
    assert world.engine.peak == 4 if way == "inside the run" else 2 <= world.engine.peak <= 4


async def test_the_first_failed_item_ends_the_others_and_fails_the_step(world: World, way: str) -> None:
    world.engine.decides["train"] = chosen(2)
    foreach = {"items": [{"lr": n / 10} for n in range(9)], "parallelism": 4}
    outputs = {"index": "integer"}
    step = await failed(world, await world.start({"train": {**ARGO, "foreach": foreach, "outputs": outputs}}))
    assert step.state is StepState.FAILED
    first, second = step.message.splitlines()
    assert first == "item 2 (lr=0.2): Error (exit code 1)"
    assert "of 9 items had succeeded" in second
    assert step.items is not None and step.items.failed == 1
    found = step.outputs["index"]
    assert isinstance(found, list) and len(found) == 9
    assert set(found[:2]) <= {0, 1, None} and found[2:] == [None] * 7
    assert len(world.engine.running()) == 0, "what ran was ended before the step was"
    assert len(world.engine.submitted) < 9
    assert await running_chunks(world) == []


async def test_without_fail_fast_every_item_runs_and_the_first_failures_are_told(world: World, way: str) -> None:
    world.engine.decides["train"] = lambda s: FAILED if s.key.index > 1 else Outcome(outputs={"x": 1})
    foreach = {"range": 8, "failFast": False, "parallelism": 3}
    step = await failed(world, await world.start({"train": {**ARGO, "foreach": foreach}}))
    first, *told, more = step.message.splitlines()
    assert first == "7 of 8 items failed"
    assert told == [f"item {n} ({n}): Error (exit code 1)" for n in range(1, 6)]
    assert more == "and 2 more"
    assert step.outputs == {"x": [1, *[None] * 7]}
    assert step.items == ItemCounts(total=8, succeeded=1, failed=7)


async def test_cancelling_the_run_ends_every_engine_run_before_the_run(world: World, way: str) -> None:
    world.engine.decides["train"] = lambda s: Outcome() if s.key.index % 2 else None
    handle = await world.start({"train": {**ARGO, "foreach": {"range": 12, "parallelism": 6}}})
    await world.engine.until(lambda: len(world.engine.running()) >= 4)
    await handle.cancel()
    step = await failed(world, handle)
    assert step.state is StepState.CANCELLED
    assert len(world.engine.running()) == 0
    assert await running_chunks(world) == []
    begun = len(world.engine.submitted)
    assert sum(one.state is StepState.SUCCEEDED for one in world.store.items.values()) < begun <= 12
    assert {one.state for one in world.store.items.values()} == {StepState.SUCCEEDED, StepState.CANCELLED}


async def test_a_steps_timeout_is_over_all_items_and_its_retries_are_each_items(world: World) -> None:
    tries: dict[int, int] = {}

    def decide(submission: Submission) -> Outcome | None:
        tries[submission.key.index] = submission.key.attempt
        return FAILED if submission.key.attempt < submission.key.index else Outcome()

    world.engine.decides |= {"train": decide, "slow": lambda s: None if s.key.index == 2 else Outcome()}
    retry = {"attempts": 3, "backoff": "1ms"}
    handle = await world.start(
        {
            "train": {**ARGO, "foreach": {"range": 3}, "retry": retry},
            "slow": {**ARGO, "foreach": {"range": 3}, "timeout": "1s"},
        }
    )
    slow = await failed(world, handle, "slow")
    assert tries == {1: 1, 2: 2, 3: 3}
    assert (slow.state, slow.items and slow.items.succeeded, len(world.engine.running())) == (StepState.TIMED_OUT, 2, 0)


async def test_lists_that_are_too_large_to_travel_are_read_from_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch)
    monkeypatch.setattr("workflows.chunk_run.MAX_LISTS", 10)
    world.engine.decides["train"] = lambda s: Outcome(outputs={"x": s.key.index * 10})
    steps: dict[str, object] = {
        "train": {**ARGO, "foreach": {"range": 5}},
        "report": {**ARGO, "parameters": {"xs": "${{ steps.train.outputs.x }}"}},
        "each": {**ARGO, "foreach": {"range": 2}, "parameters": {"x": "${{ steps.train.outputs.x[item] }}"}},
    }
    run = await (await world.start(steps, outputs={"last": "${{ steps.train.outputs.x[4] }}"})).result()
    assert (run.steps[0].stored, run.steps[0].outputs, run.outputs) == (True, {}, {"last": 50})
    given = {(s.key.step, s.key.index): s.parameters for s in world.engine.submitted if s.key.step != "train"}
    assert given == {("report", 0): {"xs": [10, 20, 30, 40, 50]}, ("each", 1): {"x": 10}, ("each", 2): {"x": 20}}


async def test_a_chunk_that_somebody_terminates_is_begun_again_with_the_same_engine_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch)
    world.engine.decides["train"] = lambda s: None if s.key.index == 4 else Outcome()
    handle = await world.start({"train": {**ARGO, "foreach": {"range": 4}}})
    await world.engine.until(lambda: len(world.engine.running()) == 1)
    await world.client.get_workflow_handle(f"{handle.id}/train/3-3").terminate("by mistake")
    while (await world.client.get_workflow_handle(f"{handle.id}/train/3-3").describe()).status is not (
        WorkflowExecutionStatus.RUNNING
    ):
        await asyncio.sleep(0.01)
    world.engine.finish("train")
    assert (await handle.result()).steps[0].items == ItemCounts(total=4, succeeded=4)
    assert len(world.engine.submitted) == 4


async def test_a_chunk_that_somebody_cancels_does_not_pass_for_a_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch)
    world.engine.decides["train"] = lambda s: None if s.key.index == 4 else Outcome()
    handle = await world.start({"train": {**ARGO, "foreach": {"range": 4}}, "after": {**ARGO, "needs": ["train"]}})
    await world.engine.until(lambda: len(world.engine.running()) == 1)
    await world.client.get_workflow_handle(f"{handle.id}/train/3-3").cancel()
    step = await failed(world, handle)
    assert step.state is StepState.CANCELLED
    assert step.message == "1 of 4 items were ended or not begun: their workflow was cancelled in Temporal"
    assert (world.engine.running(), "after" in world.engine.steps()) == ([], False)


async def test_what_does_not_fit_a_history_or_is_no_list_fails_its_step_with_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch)
    monkeypatch.setattr("workflows.fanout.EVENTS_OF_A_CHUNK", 10_000)
    handle = await world.start(
        {
            "many": {**ARGO, "foreach": {"range": 8}},
            "text": {**ARGO, "foreach": "${{ inputs.what }}"},
            "missing": {**ARGO, "foreach": [{"a": 1}, {"b": 2}], "parameters": {"x": "${{ item.b }}"}},
        },
        {"what": "abc"},
        declared={"what": {"type": "string"}},
    )
    assert "more than is left to the fan-outs of one run" in (await failed(world, handle, "many")).message
    steps = {one.name: one for one in world.store.snapshots[handle.id].steps}
    assert "step 'text', foreach: " in steps["text"].message and "is no list" in steps["text"].message
    assert steps["missing"].message.startswith("item 0 (a=1): parameter 'x': ")
