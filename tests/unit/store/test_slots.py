"""Slots of engine runs: as many as the limit, over all workers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from meta.store import Store
from workers.circuit import CircuitState, CircuitView
from workers.ports import EngineLoad
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import RunState


def key(run: str, attempt: int = 1) -> RunKey:
    return RunKey(meta_run=run, step="train", attempt=attempt)


async def test_two_workers_that_want_slots_at_once_get_as_many_as_there_are(store: Store, tmp_path: Path) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as other:
        takes = [(store if n % 2 else other).slots.take("argo", key(f"run-{n}"), 5, None) for n in range(20)]
        answers = await asyncio.gather(*takes)
    assert sum(answer.granted for answer in answers) == 5
    assert {answer.taken for answer in answers if not answer.granted} == {5}
    assert await store.slots.taken("argo") == 5


async def test_a_repeat_and_a_later_attempt_take_no_second_slot(store: Store) -> None:
    for attempt in (1, 1, 2):
        assert (await store.slots.take("argo", key("a", attempt), 1, None)).granted
    assert not (await store.slots.take("argo", key("b"), 1, None)).granted
    assert (await store.slots.take("kfp", key("b"), 1, None)).granted


async def test_a_slot_is_given_back_once_its_run_has_ended_but_not_by_an_earlier_attempt(store: Store) -> None:
    await store.slots.take("argo", key("a", 2), 1, None)
    await store.slots.free(key("a", 1))
    assert await store.slots.taken("argo") == 1
    await store.slots.free(key("a", 2))
    await store.slots.free(key("a", 2))
    assert (await store.slots.take("argo", key("b", 3), 1, None)).granted
    await store.slots.free(key("b", 1), any_attempt=True)
    assert await store.slots.taken("argo") == 0


async def test_the_slots_of_a_meta_run_that_has_ended_are_swept(store: Store) -> None:
    await store.slots.take("argo", key("gone"), 1, None)
    await store.runs.snapshot(RunSnapshot(id="gone", workflow="chain", bundle_digest=""))
    assert not (await store.slots.take("argo", key("next"), 1, None)).granted
    await store.runs.gone("gone", RunState.TERMINATED, "terminated in Temporal", datetime.now(UTC))
    assert (await store.slots.take("argo", key("next"), 1, None)).granted


async def test_a_rate_gives_each_its_turn_and_keeps_it(store: Store) -> None:
    assert (await store.slots.take("argo", key("a"), None, 2.0)).granted
    waits = [(await store.slots.take("argo", key(run), None, 2.0)).wait or 0.0 for run in ("b", "c", "b")]
    assert 0.0 < waits[0] <= 0.5 < waits[1] <= 1.0
    assert waits[2] <= waits[0]  # its turn, told again, and nearer now
    await asyncio.sleep(waits[2])
    assert (await store.slots.take("argo", key("b"), None, 2.0)).granted


async def test_circuits_are_kept_by_worker_and_the_worst_is_first(store: Store) -> None:
    now = datetime.now(UTC)
    closed = EngineLoad(CircuitView(CircuitState.CLOSED, now), 3)
    open_ = EngineLoad(CircuitView(CircuitState.OPEN, now, 5, "no answer", now), 0)
    await store.record_circuits("a/1", {"argo": open_, "kfp": closed})
    await store.record_circuits("a/1", {"argo": closed, "kfp": closed})
    await store.record_circuits("b/2", {"argo": open_})
    found = await store.circuits.fresh()
    assert [(one.worker, one.circuit.state) for one in found["argo"]] == [
        ("b/2", CircuitState.OPEN),
        ("a/1", CircuitState.CLOSED),
    ]
    assert found["argo"][0].circuit == open_.circuit
    assert [one.awaited_runs for one in found["kfp"]] == [3]
