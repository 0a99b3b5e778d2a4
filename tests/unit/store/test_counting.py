"""What the store counts: each transition once, whoever tells it and however often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meta.store import Store
from meta.store.counting import queue_time
from tests.support.metrics import points, shared_reader
from tests.unit.store.test_store import AT, DEFINITION, REF, snapshot
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Node, Outcome, RunState, StepState

KEY = RunKey(meta_run="chain-1", step="prepare", attempt=1)
FAILED = Outcome(failure=FailureClass.FAILED, message="exit code 1")
Counted = Callable[[], dict[str, float]]


@pytest.fixture
def counted() -> Counted:
    """What was counted since the test began: instrument and values of attributes, with how often."""

    def now() -> Counter[str]:
        found: Counter[str] = Counter()
        for name, attributes, value in points(shared_reader()):
            if name in ("meta.runs.started", "meta.runs.ended", "meta.steps.ended", "meta.attempts.ended"):
                words = [str(attributes[key]) for key in ("state", "failure") if attributes.get(key)]
                found["/".join([name.removeprefix("meta."), *words])] += int(value)
            elif name.startswith(("meta.submit", "meta.detection", "meta.engine.queue", "meta.run.", "meta.step.")):
                found[name.removeprefix("meta.")] += int(value)
            elif name == "meta.engine.nodes":
                found[f"engine.nodes/{attributes['cached']}"] += int(value)
        return found

    before = now()
    return lambda: dict(now() - before)


def told(state: RunState = RunState.RUNNING, **steps: StepState) -> RunSnapshot:
    run = snapshot("chain-1")

    def step(one: StepSnapshot) -> StepSnapshot:
        state = steps.get(one.name)
        return one if state is None else one.model_copy(update={"state": state, "attempt": 1})

    end = AT + timedelta(seconds=60) if state.ended else None
    return run.model_copy(update={"state": state, "steps": [step(one) for one in run.steps], "finished_at": end})


async def test_news_told_again_after_a_kill_count_once(store: Store, tmp_path: Path, counted: Counted) -> None:
    nodes = [
        Node(id="dag", name="dag", started_at=AT),
        Node(id="a", name="a", parent="dag", started_at=AT + timedelta(seconds=4)),
        Node(id="b", name="b", parent="dag", cached=True, started_at=AT + timedelta(seconds=1)),
    ]
    outcome = Outcome(nodes=nodes, started_at=AT, finished_at=AT + timedelta(seconds=9))
    last = told(RunState.FAILED, prepare=StepState.SUCCEEDED, train=StepState.FAILED)

    async def story(teller: Store) -> None:
        for _ in range(2):
            await teller.runs.create(snapshot("chain-1"), "i", DEFINITION)
            await teller.attempt_submitted("chain", KEY, REF, AT, asked_at=AT - timedelta(seconds=2))
            await teller.attempt_ended("chain", KEY, REF, outcome, AT + timedelta(seconds=10))
            await teller.snapshot(told(prepare=StepState.SUCCEEDED))
            await teller.snapshot(last)

    await story(store)
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as next_process:
        await story(next_process)
        await next_process.runs.gone("chain-1", RunState.TERMINATED, "by hand", AT)
    assert counted() == {
        "runs.started": 1,
        "runs.ended/failed": 1,
        "run.duration": 1,
        "steps.ended/succeeded": 1,
        "steps.ended/failed/rejected": 1,  # it never had an engine run
        "step.duration": 1,
        "attempts.ended/succeeded": 1,
        "submit.latency": 1,
        "engine.queue.time": 1,
        "detection.delay": 1,
        "engine.nodes/true": 1,
        "engine.nodes/false": 1,
    }


async def test_a_step_counts_when_its_last_attempt_has_ended(store: Store, counted: Counted) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.attempt_submitted("chain", KEY, REF, AT)
    await store.attempt_ended("chain", KEY, REF, FAILED, AT)
    assert counted() == {"runs.started": 1, "attempts.ended/failed/failed": 1}, "another attempt may follow"
    for _ in range(2):
        await store.snapshot(told(prepare=StepState.FAILED))
    assert counted()["steps.ended/failed/failed"] == 1
    for _ in range(2):
        await store.runs.gone("chain-1", RunState.TERMINATED, "by hand", AT)
    found = counted()
    assert (found["steps.ended/failed/failed"], found["steps.ended/skipped"], found["runs.ended/terminated"]) == (
        1,
        1,
        1,
    )


@pytest.mark.parametrize("cut_first", [True, False])
async def test_an_attempt_that_was_cut_counts_once_whichever_is_told_first(
    store: Store, counted: Counted, *, cut_first: bool
) -> None:
    await store.attempt_submitted("chain", KEY, REF, AT)
    for cut in (cut_first, not cut_first):
        if cut:
            await store.attempt_cut(KEY, FailureClass.TIMED_OUT, "its time was up")
        else:
            await store.attempt_ended("chain", KEY, REF, FAILED, AT)
    ends = {name: count for name, count in counted().items() if name.startswith("attempts.")}
    assert ends == {"attempts.ended/timed_out/timed_out" if cut_first else "attempts.ended/failed/failed": 1}


async def test_a_run_counts_as_started_when_its_workflow_is_known(store: Store, counted: Counted) -> None:
    await store.other_run_ended(KEY, REF, REF, AT)
    assert counted() == {}
    await store.snapshot(snapshot("chain-1"))
    assert counted() == {"runs.started": 1}


async def test_what_is_rolled_back_does_not_count(store: Store, counted: Counted) -> None:
    with pytest.raises(RuntimeError):
        async with store.database.write() as session:
            await store.runs.change(session, snapshot("chain-1"), lambda run: run)
            raise RuntimeError
    assert counted() == {}


async def test_running_runs_are_counted_by_workflow(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.runs.create(snapshot("chain-2", request_id="2"), "i", DEFINITION)
    await store.snapshot(told(RunState.SUCCEEDED))
    assert await store.runs.running() == {"chain": 1}


def test_the_queue_time_is_that_of_the_first_pod_that_ran() -> None:
    late = Node(id="a", name="a", started_at=AT + timedelta(seconds=3))
    group = Node(id="g", name="g", started_at=AT)
    assert queue_time(Outcome(nodes=[late], started_at=AT)) == 3
    assert queue_time(Outcome(nodes=[group, late.model_copy(update={"parent": "g"})], started_at=AT)) == 3
    assert queue_time(Outcome(nodes=[late])) is None
    assert queue_time(Outcome(nodes=[late.model_copy(update={"cached": True})], started_at=AT)) is None
