from __future__ import annotations

from datetime import UTC, datetime, timedelta

from meta.store import Store
from workers.ports import KEPT_TRIES, Work
from workflows.messages import RunSnapshot
from workflows.naming import RunKey

AT = datetime(2026, 1, 1, tzinfo=UTC)


def tried(number: int, what: str = "submit", *, attempt: int = 1, code: str = "ENGINE_UNAVAILABLE") -> Work:
    key = RunKey(meta_run="chain-1", step="train", attempt=attempt)
    start = AT + timedelta(minutes=number)
    return Work(key, what, number, "host", start, start + timedelta(seconds=1), code=code, message=f"try {number}")


async def kept(store: Store) -> list[tuple[str, int, int]]:
    await store.runs.snapshot(RunSnapshot(id="chain-1", workflow="chain", bundle_digest="d", started_at=AT))
    work = (await store.traces.record("chain-1")).work
    return sorted((one.what, one.key.attempt, one.number) for one in work)


async def test_of_the_tries_of_one_activity_the_first_and_the_last_are_kept(store: Store) -> None:
    for number in range(1, KEPT_TRIES + 30):
        await store.worked(tried(number))
    await store.worked(tried(99, attempt=2))
    await store.worked(tried(99, "wait"))
    first = [("submit", 1, number) for number in range(1, KEPT_TRIES + 1)]
    assert await kept(store) == [*first, ("submit", 1, KEPT_TRIES + 29), ("submit", 2, 99), ("wait", 1, 99)]


async def test_a_try_that_is_told_twice_or_late_changes_nothing(store: Store) -> None:
    await store.worked(tried(1))
    await store.worked(tried(1, code="OTHER"))
    await store.worked(tried(50))
    await store.worked(tried(30))
    await store.worked(tried(50, code="OTHER"))
    assert await kept(store) == [("submit", 1, 1), ("submit", 1, 50)]
    assert {one.code for one in (await store.traces.record("chain-1")).work} == {"ENGINE_UNAVAILABLE"}
