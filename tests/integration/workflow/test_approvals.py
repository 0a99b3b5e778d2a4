"""Approvals: what is asked, who may decide, what a decision does to the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.support.approvals import Handle, step_of, until_asked
from tests.support.world import World
from tests.support.world import world as make_world
from workflows.decisions import Decide, Decided
from workflows.messages import ErrorDetail, RunSnapshot
from workflows.outcome import Artifact, Outcome, StepState
from workflows.values import JsonObject

pytestmark = pytest.mark.asyncio(loop_scope="module")
ARGO = {"argo": {"manifest": "m.yaml"}}
MODEL = Artifact(name="model", uri="s3://meta/model", sha256="ab", size=2)
CHAIN: dict[str, object] = {
    "train": {**ARGO, "outputs": {"accuracy": "number"}},
    "approve": {
        "approval": {"prompt": "Deploy ${{ steps.train.artifacts.model.uri }}?", "approvers": ["ann", "bob"]},
        "parameters": {"accuracy": "${{ steps.train.outputs.accuracy }}"},
        "artifacts": {"model": "${{ steps.train.artifacts.model }}"},
    },
    "deploy": {**ARGO, "needs": ["approve"], "parameters": {"by": "${{ steps.approve.outputs.by }}"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_world() -> AsyncGenerator[World]:
    async with make_world() as w:
        yield w


@pytest.fixture
def world(one_world: World) -> World:
    """The same for all tests, with an engine that remembers nothing."""
    one_world.engine.script.clear()
    one_world.engine.submitted.clear()
    return one_world


async def decide(handle: Handle, approve: bool, by: str, **more: str) -> Decided:
    message = Decide(approve=approve, by=by, **more)
    return await handle.execute_update("decide", message, result_type=Decided)


async def refused(handle: Handle, approve: bool, by: str, **more: str) -> ErrorDetail:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await decide(handle, approve, by, **more)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    detail = ErrorDetail.model_validate(cause.details[0])
    assert detail.code == cause.type
    return detail


async def failed(handle: Handle, world: World) -> RunSnapshot:
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    return world.store.snapshots[handle.id]


async def started(world: World, **approval: object) -> Handle:
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": MODEL})]
    source = {"approval": {"prompt": "Go on?", **approval}}
    return await world.start({"approve": source, "deploy": {**ARGO, "needs": ["approve"]}})


async def test_a_step_asks_with_values_and_objects_and_goes_on_when_somebody_approves(world: World) -> None:
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": MODEL})]
    handle: Handle = await world.start(CHAIN)
    asked = await until_asked(handle)
    assert (asked.prompt, asked.parameters, asked.approvers) == (
        "Deploy s3://meta/model?",
        {"accuracy": 0.93},
        ["ann", "bob"],
    )
    assert asked.artifacts["model"].sha256 == "ab"
    assert step_of(world.store.snapshots[handle.id], "approve").asked == asked, "the store knows what is asked"
    answer = await decide(handle, True, "ann", step="approve", reason="looks good", digest=asked.digest)
    assert answer.decided
    run = await handle.result()
    step = step_of(run, "approve")
    assert step.state is StepState.SUCCEEDED
    assert step.decision == answer.decision
    outputs: JsonObject = {"approved": True, "by": "ann", "reason": "looks good", "digest": asked.digest}
    assert {name: step.outputs[name] for name in outputs} == outputs
    assert datetime.fromisoformat(str(step.outputs["at"])) == answer.decision.at
    assert world.engine.submitted[-1].parameters == {"by": "ann"}


async def test_a_rejection_fails_the_step_with_who_and_why(world: World) -> None:
    handle = await started(world)
    await until_asked(handle)
    await decide(handle, False, "bob", reason="too early")
    run = await failed(handle, world)
    step = step_of(run, "approve")
    assert (step.state, step.message) == (StepState.FAILED, "rejected by bob: too early")
    assert step.outputs["approved"] is False
    assert step_of(run, "deploy").state is StepState.SKIPPED
    assert world.engine.submitted == []


async def test_what_cannot_be_decided_is_refused_with_the_reason_and_the_step_goes_on_waiting(world: World) -> None:
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": MODEL})]
    handle: Handle = await world.start(CHAIN)
    asked = await until_asked(handle)
    unknown = await refused(handle, True, "ann", step="aprove")
    assert (unknown.code, unknown.hint) == ("NOT_FOUND", "did you mean 'approve'?")
    assert (await refused(handle, True, "eve")).code == "NOT_ALLOWED"
    assert "ann, bob" in (await refused(handle, True, "eve")).hint
    other = await refused(handle, True, "ann", digest="sha256:00")
    assert other.code == "CONFLICT"
    assert asked.digest in other.message
    assert (await refused(handle, True, " ")).code == "INVALID_INPUT"
    history = [event async for event in handle.fetch_history_events()]
    assert not any("UPDATE" in str(event.event_type) for event in history)
    await decide(handle, True, "bob")
    assert step_of(await handle.result(), "approve").state is StepState.SUCCEEDED


async def test_the_same_decision_again_is_fine_and_another_one_is_refused(world: World) -> None:
    world.engine.script["deploy"] = [None]
    handle = await started(world)
    await until_asked(handle)
    first = await decide(handle, True, "ann")
    await world.engine.until(lambda: world.engine.steps() == ["deploy"])
    again = await decide(handle, True, "ann", step="approve")
    assert (again.decided, again.decision) == (False, first.decision)
    assert not (await decide(handle, True, "ann")).decided, "without the step's name, too"
    late = await refused(handle, False, "ann", step="approve")
    assert late.code == "CONFLICT"
    assert "approved by ann" in late.message
    world.engine.finish("deploy")
    await handle.result()


async def test_a_decision_before_the_step_begins_is_refused(world: World) -> None:
    world.engine.script["train"] = [None]
    handle: Handle = await world.start(CHAIN)
    await world.engine.until(lambda: world.engine.steps() == ["train"])
    assert "does not wait" in (await refused(handle, True, "ann", step="approve")).message
    await handle.cancel()
    await failed(handle, world)


async def test_of_several_waiting_approvals_one_must_be_named(world: World) -> None:
    ask = {"approval": {"prompt": "?"}}
    handle: Handle = await world.start({"first": ask, "second": ask})
    await until_asked(handle, "first")
    await until_asked(handle, "second")
    assert (await refused(handle, True, "ann")).message == "2 approvals wait: first, second"
    await asyncio.gather(decide(handle, True, "ann", step="first"), decide(handle, True, "ann", step="second"))
    await handle.result()


@pytest.mark.parametrize(
    ("on_timeout", "state", "words"),
    [
        ("fail", StepState.TIMED_OUT, "nobody decided within 300ms"),
        ("reject", StepState.FAILED, "rejected by its time-out: nobody decided within 300ms"),
        ("approve", StepState.SUCCEEDED, ""),
    ],
)
async def test_the_time_out_decides_as_the_definition_says(
    world: World, on_timeout: str, state: StepState, words: str
) -> None:
    handle = await started(world, timeout="300ms", onTimeout=on_timeout)
    run = await handle.result() if state is StepState.SUCCEEDED else await failed(handle, world)
    step = step_of(run, "approve")
    assert (step.state, step.message) == (state, words)
    assert (step.decision is None) == (on_timeout == "fail")
    if step.decision is not None:
        assert step.decision.by == ""
    assert step.asked is not None
    assert step.asked.deadline is not None
    assert step.started_at is not None
    assert step.asked.deadline - step.started_at == timedelta(milliseconds=300)


async def test_people_decide_by_a_signal_and_read_at_the_step_why_one_was_refused(world: World) -> None:
    handle = await started(world, approvers=["ann"])
    await until_asked(handle)
    await handle.signal("decide", {"approve": True, "by": "eve"})
    async with asyncio.timeout(20):
        while "eve" not in step_of(await handle.query("state", result_type=RunSnapshot), "approve").message:
            await asyncio.sleep(0.02)
    await handle.signal("decide", {"approve": True, "by": "ann"})
    run = await handle.result()
    assert step_of(run, "approve").outputs["by"] == "ann"


async def test_a_cancelled_run_asks_no_more(world: World) -> None:
    handle = await started(world, timeout="1h")
    await until_asked(handle)
    await handle.cancel()
    run = await failed(handle, world)
    assert step_of(run, "approve").state is StepState.CANCELLED
    assert run.state.value == "canceled"


async def test_the_same_text_about_another_object_has_another_digest(world: World) -> None:
    digests: set[str] = set()
    for sha256 in ("ab", "cd"):
        model = MODEL.model_copy(update={"sha256": sha256})
        world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
        handle: Handle = await world.start(CHAIN)
        digests.add((await until_asked(handle)).digest)
        await handle.terminate()
    assert len(digests) == 2
