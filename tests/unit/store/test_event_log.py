from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.store.triggers import EventRecord, event_row_id
from workflows.errors import Conflict, ExpressionFailed, InvalidInput, NotFound

AT = datetime(2026, 1, 2, tzinfo=UTC)


def record(number: int, **changes: object) -> EventRecord:
    dead = EventRecord(
        workflow="chain", trigger="datasets", identity=f"nats:id:{number}", source="nats", subject="ml.ready",
        outcome="dead", code="INPUTS_INVALID", reason="input 'rate' is missing", hint="give it", data=b"{}",
    )  # fmt: skip
    return replace(dead, **changes)  # pyright: ignore[reportArgumentType]


def started(number: int) -> EventRecord:
    return record(number, outcome="started", run_id=f"chain-{number}", code="", reason="", hint="", data=None)


async def put(store: Store, *records: EventRecord) -> list[str]:
    for one in records:
        await store.triggers.put(one)
    return [one.id for one in records]


async def row_of(store: Store, event_id: str) -> TriggerEventRow:
    return await store.events.get(event_id)


async def test_pages_follow_each_other_newest_first_also_within_one_moment(store: Store) -> None:
    ids = await put(store, *(record(number) for number in range(7)), started(7), record(8, workflow="other"))
    async with store.database.write() as session:  # three of them in one microsecond
        for number, event_id in enumerate(ids):
            row = await session.get(TriggerEventRow, event_id)
            assert row is not None
            row.received_at = AT + timedelta(microseconds=max(number - 2, 0))
    seen: list[TriggerEventRow] = []
    token = ""
    while True:
        page = await store.events.page(workflow="chain", outcome="dead", size=2, token=token)
        assert len(page.events) <= 2
        seen += page.events
        token = page.next_token
        if not token:
            break
    assert len(seen) == 7
    assert {row.id for row in seen} == set(ids[:7])
    assert [row.received_at for row in seen] == sorted((row.received_at for row in seen), reverse=True)
    assert len((await store.events.page()).events) == 9
    with pytest.raises(InvalidInput, match="page token"):
        await store.events.page(token="nonsense")


async def test_the_beginning_of_an_id_is_enough_while_no_other_begins_so(store: Store) -> None:
    ids = await put(store, *(record(number) for number in range(3)))
    assert (await row_of(store, ids[0])).data == b"{}"
    assert (await row_of(store, ids[0][:9])).id == ids[0]
    assert (await row_of(store, ids[0].removeprefix("ev-")[:6])).id == ids[0]
    assert await store.events.resolve([ids[2], ids[0][:9], ids[2]]) == [ids[2], ids[0]]
    for wrong, error in (("ev-", InvalidInput), ("", InvalidInput), ("ev-%%%%", NotFound), ("ev-zzzz", NotFound)):
        with pytest.raises(error):
            await row_of(store, wrong)
        with pytest.raises(error):
            await store.events.resolve([ids[0], wrong])


async def test_a_beginning_that_several_share_is_refused_with_their_ids(store: Store) -> None:
    first = next(
        (a, b)
        for a in range(1000)
        for b in range(a)
        if event_row_id("chain", f"nats:id:{a}")[:7] == event_row_id("chain", f"nats:id:{b}")[:7]
    )
    ids = await put(store, *(record(number) for number in first))
    with pytest.raises(InvalidInput, match=rf"could be {'|'.join(ids)}"):
        await row_of(store, ids[0][:7])


async def test_dead_ones_are_given_up_all_or_none_and_a_started_one_never(store: Store) -> None:
    ids = await put(store, record(0), record(1), started(2), record(3, outcome="held"))
    for refused, words in ((ids[2], "has started run chain-2"), (ids[3], "is held, not dead")):
        with pytest.raises(Conflict, match=words):
            await store.events.discard([ids[0], refused])
    with pytest.raises(NotFound):
        await store.events.discard([ids[0], "ev-none"])
    assert await store.events.dead() == ids[:2], "on an error none is given up"
    assert await store.events.discard(ids[:2]) == 2
    assert await store.events.discard(ids[:2]) == 0
    row = await row_of(store, ids[0])
    assert (row.outcome, row.data, row.reason) == ("discarded", None, "input 'rate' is missing")


async def test_the_dead_ones_of_a_workflow_come_oldest_first(store: Store) -> None:
    ids = await put(store, record(0), started(1), record(2), record(3, workflow="other"))
    assert await store.events.dead("chain") == [ids[0], ids[2]]
    assert await store.events.dead() == [ids[0], ids[2], ids[3]]


async def test_what_a_replay_comes_to_never_changes_an_event_that_has_its_run(store: Store) -> None:
    dead, done = await put(store, record(0), started(1))
    error = ExpressionFailed("input 'rate': no such field", hint="add it")
    for event_id in (dead, done):
        await store.events.failed_again(event_id, error)
    row = await row_of(store, dead)
    assert (row.outcome, row.code, row.reason, row.hint) == ("dead", error.code, error.message, "add it")
    assert row.data == b"{}", "it can be replayed again"
    for event_id in (dead, done):
        await store.events.unwanted(event_id, "when is false")
        await store.events.started(event_id, "chain-9")
    row = await row_of(store, dead)
    assert (row.outcome, row.run_id, row.data, row.reason) == ("started", "chain-9", None, "")
    assert ((await row_of(store, done)).outcome, (await row_of(store, done)).run_id) == ("started", "chain-1")


async def test_only_a_message_whose_start_was_cut_off_is_let_go_and_keeps_why_it_was_dead(store: Store) -> None:
    cut = record(0, outcome="held", run_id="chain-0")
    ids = await put(store, cut, record(1, outcome="held", batch="b"), started(2))
    for event_id in (*ids, "ev-none"):
        await store.events.let_go(event_id)
    rows = [await row_of(store, event_id) for event_id in ids]
    assert [row.outcome for row in rows] == ["dead", "held", "started"]
    assert (rows[0].run_id, rows[0].reason, rows[0].data) == (None, cut.reason, b"{}")
