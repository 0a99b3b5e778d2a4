"""Leases on run keys and the ends that resumes have seen, over several connections as of several workers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlmodel import select

from meta.store import Store
from meta.store.tables import LeaseRow
from tests.unit.store.test_store import AT, snapshot
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef

KEY = RunKey(meta_run="chain-1", step="train")


async def expire(store: Store) -> None:
    """Let an hour go by."""
    async with store.database.write() as session:
        for row in (await session.exec(select(LeaseRow))).all():
            row.expires_at -= timedelta(hours=1)


async def test_a_second_try_is_told_who_holds_the_lease_and_how_long(store: Store) -> None:
    first = await store.take_lease(KEY, "a", "host one", 60)
    second = await store.take_lease(KEY, "b", "host two", 60)
    assert (first.token, second.token, second.holder) == ("a", "a", "host one")
    assert 0 < second.seconds_left <= 60
    assert second.expires_at == first.expires_at


async def test_a_lease_that_was_let_go_is_free_at_once(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    await store.release_lease(KEY, "b")  # not its own
    assert (await store.take_lease(KEY, "b", "two", 60)).token == "a"
    await store.release_lease(KEY, "a")
    assert (await store.take_lease(KEY, "b", "two", 60)).token == "b"


async def test_an_expired_lease_is_taken_over_and_its_old_holder_cannot_renew_it(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    await expire(store)
    assert (await store.take_lease(KEY, "b", "two", 60)).token == "b"
    assert not await store.renew_lease(KEY, "a", 60)
    await store.release_lease(KEY, "a")  # does nothing to the new holder's
    assert await store.renew_lease(KEY, "b", 60)


async def test_an_expired_lease_that_nobody_took_can_still_be_renewed(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    await expire(store)
    assert await store.renew_lease(KEY, "a", 60)
    assert (await store.take_lease(KEY, "b", "two", 60)).token == "a"


async def test_a_lease_that_was_let_go_cannot_be_renewed(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    await store.release_lease(KEY, "a")
    assert not await store.renew_lease(KEY, "a", 60)


async def test_a_key_counts_as_tried_from_its_first_create_on(store: Store) -> None:
    assert not (await store.take_lease(KEY, "a", "one", 60)).tried
    await store.release_lease(KEY, "a")
    assert not (await store.take_lease(KEY, "b", "two", 60)).tried
    await store.renew_lease(KEY, "b", 60)
    await store.release_lease(KEY, "b")
    assert (await store.take_lease(KEY, "c", "three", 60)).tried


async def test_of_many_that_take_an_expired_lease_at_once_one_gets_it(store: Store) -> None:
    await store.take_lease(KEY, "old", "old", 60)
    await expire(store)
    async with await Store.open(str(store.database.engine.url)) as other:
        stores = [store, other] * 10
        leases = await asyncio.gather(*(s.take_lease(KEY, f"t{n}", f"h{n}", 60) for n, s in enumerate(stores)))
    assert len({lease.token for lease in leases}) == 1
    assert leases[0].token != "old"


async def test_leases_of_two_keys_have_nothing_to_do_with_each_other(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    other = KEY.model_copy(update={"attempt": 2})
    assert (await store.take_lease(other, "b", "two", 60)).token == "b"


async def test_leases_of_long_ago_are_cleared_away_when_the_store_is_opened(store: Store) -> None:
    await store.take_lease(KEY, "a", "one", 60)
    async with store.database.write() as session:
        row = (await session.exec(select(LeaseRow))).one()
        row.expires_at -= timedelta(days=91)
    await store.take_lease(KEY.model_copy(update={"attempt": 2}), "b", "two", 60)
    async with await Store.open(str(store.database.engine.url)), store.database.read() as session:
        assert [row.token for row in (await session.exec(select(LeaseRow))).all()] == ["b"]


async def test_the_end_that_was_seen_first_stays(store: Store) -> None:
    assert await store.first_end(KEY, "u1", "12:00") == "12:00"
    assert await store.first_end(KEY, "u1", "12:05") == "12:00"
    assert await store.first_end(KEY.model_copy(update={"attempt": 2}), "u1", "12:05") == "12:05"


async def test_a_run_that_was_ended_beside_the_adopted_one_is_counted_once_and_shown_with_its_step(
    store: Store,
) -> None:
    def ref(uid: str) -> EngineRunRef:
        return EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="chain-train-1", uid=uid)

    await store.snapshot(snapshot("chain-1"))
    (revision, _), *_ = (await store.runs.get_many(["chain-1"])).values()
    for _ in range(2):
        await store.other_run_ended(KEY, ref("stays"), ref("second"), AT)
    await store.other_run_ended(KEY.model_copy(update={"attempt": 2}), ref("stays"), ref("third"), AT)
    (later, run), *_ = (await store.runs.get_many(["chain-1"])).values()
    assert later == revision + 2
    prepare, train = run.steps
    assert prepare.other_runs == []
    assert [(o.ref.uid, o.attempt, o.stays, o.at) for o in train.other_runs] == [
        ("second", 1, "stays", AT),
        ("third", 2, "stays", AT),
    ]
    await store.snapshot(snapshot("chain-1"))
    assert len((await store.runs.get("chain-1")).steps[1].other_runs) == 2


async def test_a_run_ended_beside_another_is_counted_although_the_meta_run_is_not_written_down_yet(
    store: Store,
) -> None:
    ref = EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="chain-train-1", uid="u")
    await store.other_run_ended(KEY, ref, ref.model_copy(update={"uid": "v"}), AT)
    await store.snapshot(snapshot("chain-1"))
    assert len((await store.runs.get("chain-1")).steps[1].other_runs) == 1
