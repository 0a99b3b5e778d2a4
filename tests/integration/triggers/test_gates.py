"""Places of triggers in the store: what counts, what lapses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import col, update

from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.store.trigger_gates import CLAIM_S
from meta.store.triggers import EventRecord
from workflows.messages import RunSnapshot
from workflows.outcome import RunState
from workflows.spec.models import MetaWorkflow


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as made:
        yield made


def record(number: int, outcome: str = "held") -> EventRecord:
    return EventRecord(
        workflow="chain", trigger="one", identity=f"nats:id:{number}", source="nats", subject="a.b",
        outcome=outcome, run_id=f"run-{number}" if outcome == "started" else "", data=b"{}",
    )  # fmt: skip


async def claim(store: Store, number: int, concurrency: int | None = 1, spacing_s: float | None = None) -> float | None:
    return await store.trigger_gates.claim(
        f"run-{number}", [record(number)], concurrency=concurrency, spacing_s=spacing_s
    )  # fmt: skip


async def start(store: Store, number: int, definition: MetaWorkflow) -> None:
    run = RunSnapshot(id=f"run-{number}", workflow="chain", bundle_digest="", request_id=f"nats:id:{number}")
    await store.runs.create(run, "digest", definition)
    await store.triggers.put(record(number, "started"))


@pytest.fixture
def definition() -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "steps": {"a": {"argo": {"template": "t"}}},
        }
    )


async def test_a_place_is_taken_from_before_the_start_until_the_run_has_ended(
    store: Store, definition: MetaWorkflow
) -> None:
    assert await claim(store, 1) is None
    assert await claim(store, 2) == 0, "claimed, though nothing has started"
    await start(store, 1, definition)
    assert await claim(store, 2) == 0
    await store.runs.gone("run-1", RunState.TERMINATED, "by hand", datetime.now(UTC))
    assert await claim(store, 2) is None


async def test_who_has_a_place_gets_it_again(store: Store, definition: MetaWorkflow) -> None:
    assert await claim(store, 1, spacing_s=3600) is None
    assert await claim(store, 1, spacing_s=3600) is None, "a redelivery after a crash"
    await start(store, 1, definition)
    assert await claim(store, 1, spacing_s=3600) is None
    assert (await store.triggers.list())[0].outcome == "started"


async def test_a_claim_whose_start_never_happened_lapses(store: Store) -> None:
    assert await claim(store, 1) is None
    long_ago = datetime.now(UTC) - timedelta(seconds=CLAIM_S + 1)
    async with store.database.write() as session:
        await session.exec(
            update(TriggerEventRow).where(col(TriggerEventRow.run_id) == "run-1").values(updated_at=long_ago)
        )
    assert await claim(store, 2) is None


async def test_a_place_that_is_given_up_or_dead_is_free(store: Store) -> None:
    assert await claim(store, 1) is None
    await store.trigger_gates.release("run-1", [record(1)])
    assert await claim(store, 2) is None
    await store.triggers.put(record(2, "dead"))
    assert await claim(store, 3) is None


async def test_a_rate_says_how_long_to_wait(store: Store) -> None:
    assert await claim(store, 1, None, 60) is None
    wait = await claim(store, 2, None, 60)
    assert wait is not None
    assert 50 < wait <= 60


async def test_triggers_do_not_stand_in_each_others_way(store: Store) -> None:
    assert await claim(store, 1) is None
    other = EventRecord(
        workflow="chain", trigger="two", identity="x", source="nats", subject="a", outcome="held"
    )  # fmt: skip
    assert await store.trigger_gates.claim("run-x", [other], concurrency=1, spacing_s=None) is None
