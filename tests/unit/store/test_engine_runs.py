from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meta.store import Store
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef, FailureClass, Node, Outcome, RunState, StepKind, StepState

AT = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = Outcome(
    failure=FailureClass.FAILED,
    message="exit code 1",
    nodes=[Node(id="n", name="main", phase="Failed")],
    finished_at=AT,
)
GOOD = Outcome(nodes=[Node(id="n", name="main", phase="Succeeded")], finished_at=AT + timedelta(hours=1))


def key(attempt: int = 1, step: str = "train") -> RunKey:
    return RunKey(meta_run="chain-1", step=step, attempt=attempt)


def ref(uid: str = "u") -> EngineRunRef:
    return EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=f"chain-{uid}", uid=uid)


async def submit(store: Store, attempt: int = 1, uid: str = "u") -> None:
    await store.attempt_submitted("chain", key(attempt), ref(uid), AT)


async def step_of(store: Store) -> StepSnapshot:
    (step,) = (await store.runs.get("chain-1")).steps
    return step


async def test_a_run_that_was_resumed_is_known_by_its_last_attempt(store: Store) -> None:
    await submit(store)
    await store.attempt_ended("chain", key(), ref(), FAILED, AT)
    await submit(store, 2)
    found = await store.engine_runs.by_uid("argo", ["u", "unknown"])
    assert {uid: (one.key, one.ended_at, one.reopened) for uid, one in found.items()} == {"u": (key(2), None, False)}
    assert await store.engine_runs.by_uid("kfp", ["u"]) == {}


async def test_what_a_running_step_waits_for_is_not_unsettled_but_awaited(store: Store) -> None:
    await submit(store)
    assert await store.engine_runs.unsettled(None, 10) == []
    assert [(one.step, one.ref) for one in await store.engine_runs.awaited("argo", None, 10)] == [("train", ref())]
    assert await store.engine_runs.awaited("argo", ("chain-1", "train", 0), 10) == []
    assert await store.engine_runs.awaited("kfp", None, 10) == []


@pytest.mark.parametrize("way", ["the meta-run is over", "the step is over", "the attempt is over"])
async def test_an_open_run_that_nobody_waits_for_is_unsettled_until_its_end_is_written(store: Store, way: str) -> None:
    await submit(store)
    if way == "the meta-run is over":
        await store.runs.gone("chain-1", RunState.TERMINATED, "by hand", AT)
    elif way == "the step is over":
        ended = StepSnapshot(
            name="train", kind=StepKind.ARGO, engine="argo", state=StepState.TIMED_OUT, attempt=1, run=ref()
        )
        await store.snapshot(RunSnapshot(id="chain-1", workflow="chain", bundle_digest="", steps=[ended]))
    else:
        await submit(store, 2, "v")
    (one,) = await store.engine_runs.unsettled(None, 10)
    assert (one.key, one.reopened) == (key(), False)
    assert await store.engine_runs.unsettled(one.key, 10) == []
    assert await store.engine_runs.settle(key(), FAILED, AT, "")
    assert await store.engine_runs.unsettled(None, 10) == []
    assert not await store.engine_runs.settle(key(), GOOD, AT, "too late"), "the first word stands"
    assert (await step_of(store)).note == ""


async def test_a_run_that_runs_again_is_open_until_its_new_end(store: Store) -> None:
    await submit(store)
    assert not await store.engine_runs.reopen(key(), "never ended")
    await store.attempt_ended("chain", key(), ref(), FAILED, AT)
    assert await store.engine_runs.reopen(key(), "runs again")
    assert not await store.engine_runs.reopen(key(), "said before")
    step = await step_of(store)
    assert (step.state, step.note) == (StepState.FAILED, "runs again")
    (one,) = await store.engine_runs.unsettled(None, 10)
    assert one.reopened
    assert await store.engine_runs.settle(key(), GOOD, AT, "succeeded in the end")
    found = (await store.engine_runs.by_uid("argo", ["u"]))["u"]
    assert (found.ended_at, found.reopened) == (GOOD.finished_at, False)
    step = await step_of(store)
    assert (step.state, step.note) == (StepState.FAILED, "succeeded in the end")


async def test_a_note_stays_when_the_workflow_says_its_last_word(store: Store) -> None:
    await submit(store)
    await store.noted(key(), "look here")
    ended = StepSnapshot(name="train", kind=StepKind.ARGO, engine="argo", state=StepState.FAILED, attempt=1)
    last = RunSnapshot(id="chain-1", workflow="chain", bundle_digest="", state=RunState.FAILED, steps=[ended])
    await store.snapshot(last)
    assert (await step_of(store)).note == "look here"


async def test_a_note_on_a_run_that_the_store_does_not_know_is_left_out(store: Store) -> None:
    await store.noted(key(), "look here")
    assert (await store.runs.list()).runs == []
