from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from meta.store import Store
from meta.store.exports import Due, Settled
from tests.unit.store.test_store import AT, DEFINITION, REF, snapshot
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Outcome, RunState, StepState

SINK = "otlp"
KEY = RunKey(meta_run="chain-1", step="prepare", attempt=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", sinks=(SINK, "openlineage")) as opened:
        yield opened


def ended(state: RunState = RunState.SUCCEEDED) -> RunSnapshot:
    run = snapshot("chain-1")
    steps = [step.model_copy(update={"state": StepState.SUCCEEDED, "attempt": 1}) for step in run.steps]
    return run.model_copy(update={"state": state, "steps": steps, "finished_at": AT})


async def the_one(store: Store, sink: str = SINK, seconds: float = 60) -> Due:
    [due] = await store.exports.claim(sink, 10, seconds)
    return due


async def settle(store: Store, due: Due, *told: str, end: bool = False) -> None:
    await store.exports.settle_claims(SINK, [Settled(due, told, ended=end)])


async def test_every_change_of_a_run_makes_it_due_for_every_sink(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    for sink in (SINK, "openlineage"):
        assert store.exports.added[sink].is_set()
    assert (await the_one(store, "openlineage")).run_id == "chain-1"

    changes = [
        store.attempt_submitted("chain", KEY, REF, AT),
        store.attempt_ended("chain", KEY, REF, Outcome(), AT),
        store.other_run_ended(KEY, REF, REF.model_copy(update={"uid": "other"}), AT),
        store.noted(KEY, "runs again"),
        store.runs.gone("chain-1", RunState.TERMINATED, "by hand", AT),
    ]
    await settle(store, await the_one(store), "root")
    for change in changes:
        store.exports.added[SINK].clear()
        assert await store.exports.claim(SINK, 10) == []
        await change
        assert store.exports.added[SINK].is_set()
        due = await the_one(store)
        assert due.told == ["root"]
        await settle(store, due)


async def test_without_sinks_nothing_is_written(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with await Store.open(url) as store:
        await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
        await store.snapshot(ended())
        assert await store.exports.claim(SINK, 10) == []
    async with await Store.open(url, sinks=(SINK,)) as store:
        await store.snapshot(ended())
        await store.noted(KEY, "a run from before")
        assert await store.exports.claim(SINK, 10) == []


async def test_what_is_claimed_is_nobody_elses_until_the_claim_has_run_out(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    first = await the_one(store, seconds=0.05)
    async with asyncio.timeout(10):
        while not (found := await store.exports.claim(SINK, 10)):
            await asyncio.sleep(0.01)
    assert await store.exports.claim(SINK, 10) == []
    assert await store.exports.freeze(SINK, [replace(first, sending=b"late")]) == [], "the first one has lost it"
    await settle(store, first, "root", end=True)
    [frozen] = await store.exports.freeze(SINK, [replace(found[0], sending=b"this")])
    await store.exports.release(SINK, [frozen])
    assert (await the_one(store)).sending == b"this", "a repeat says the same"


async def test_news_that_come_while_a_run_is_told_stay_due(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    due = await the_one(store)
    await store.snapshot(ended())
    await settle(store, due, "root", end=True)
    again = await the_one(store)
    assert (again.told, again.revision) == (["root"], due.revision + 1)
    await settle(store, again, "run", end=True)
    await store.noted(KEY, "after its end")
    assert await store.exports.claim(SINK, 10) == [], "who has been told all hears no more"


async def test_only_the_workflow_says_that_a_step_is_over(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.attempt_submitted("chain", KEY, REF, AT)
    await store.attempt_ended("chain", KEY, REF, Outcome(failure=FailureClass.FAILED), AT)
    due = await the_one(store)
    assert due.over == []
    await store.exports.release(SINK, [due])
    failed = snapshot("chain-1")
    failed.steps[0] = failed.steps[0].model_copy(update={"state": StepState.FAILED, "attempt": 1})
    await store.snapshot(failed)
    assert (await the_one(store)).over == ["prepare"]


async def test_who_told_the_same_late_may_settle_it_too(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    [slow] = await store.exports.freeze(SINK, [replace(await the_one(store, seconds=0.05), sending=b"this")])
    async with asyncio.timeout(10):
        while not await store.exports.claim(SINK, 10):
            await asyncio.sleep(0.01)
    await settle(store, slow, "root", end=True)
    assert await store.exports.claim(SINK, 10, 0) == []


async def test_a_run_can_be_looked_at_again_though_it_has_not_changed(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.exports.settle_claims(SINK, [Settled(await the_one(store), ("root",), wait_s=0.05)])
    async with asyncio.timeout(10):
        while not (found := await store.exports.claim(SINK, 10)):
            await asyncio.sleep(0.01)
    assert found[0].told == ["root"]
    await store.exports.settle(SINK, "chain-1", found[0].revision, ["run"], True)
    assert await store.exports.claim(SINK, 10) == []


async def test_changes_by_many_at_once_are_all_marked(store: Store) -> None:
    names = [f"chain-{n}" for n in range(20)]
    await asyncio.gather(*(store.runs.create(snapshot(name), "i", DEFINITION) for name in names))
    claims = await asyncio.gather(*(store.exports.claim(SINK, 5) for _ in range(6)))
    assert sorted(due.run_id for claim in claims for due in claim) == sorted(names)
