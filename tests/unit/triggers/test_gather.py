"""Messages that are gathered, over a real store and a Temporal that only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from meta.api.starter import Started, Starter
from meta.store.event_tables import TriggerEventRow
from meta.triggers.asking import ask
from meta.triggers.intake import Intake, record_of
from meta.triggers.retire import retire
from tests.unit.triggers.support import FAST, Crash, Process, RememberedRuns, message, process, trigger
from workflows.errors import Conflict, ExpressionFailed, InputsInvalid, NotFound

NewStore = Callable[[], str]
THREE = trigger(batch={"max": 3, "within": "1h"})
SOON = trigger(batch={"max": 100, "within": "0.1s"})
BURST = trigger(debounce="0.1s")


async def all_of(*tasks: asyncio.Task[Started]) -> list[str]:
    async with asyncio.timeout(10):
        return [started.run_id for started in await asyncio.gather(*tasks)]


async def row_of(service: Process, name: str) -> TriggerEventRow:
    row = await service.store.triggers.find("chain", f"nats:id:{name}")
    assert row is not None
    return row


async def held(service: Process, *names: str) -> None:
    """So many messages wait."""
    async with asyncio.timeout(10):
        while len(await service.store.gathering.held("chain", "sets")) < len(names):
            await asyncio.sleep(0.01)


async def test_as_many_messages_as_the_batch_takes_start_one_run_in_their_order(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        runs = await all_of(*(service.deliver(message(name)) for name in "abcdef"))
        row = await row_of(service, "b")
    assert sorted(temporal.sets) == [["a", "b", "c"], ["d", "e", "f"]], "batches start side by side"
    assert (len(set(runs[:3])), len(set(runs))) == (1, 2)
    assert (row.outcome, row.run_id, row.data) == ("started", runs[1], None)
    assert row.batch is not None
    assert row.batch.startswith("batch:sets:")


async def test_fewer_messages_start_a_run_when_the_first_has_waited_long_enough(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, SOON) as service:
        await all_of(*(service.deliver(message(name)) for name in "ab"))
        await all_of(service.deliver(message("c")))
    assert temporal.sets == [["a", "b"], ["c"]]


async def test_a_burst_starts_one_run_when_it_is_over(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, BURST) as service:
        await all_of(*(service.deliver(message(str(n))) for n in range(30)))
    assert temporal.sets == [[str(n) for n in range(30)]]
    [(start, _)] = temporal.runs.values()
    assert start.inputs["last"] == "29", "event is the last of them"


async def test_two_services_gather_one_batch_and_both_learn_of_its_run(new_store: NewStore) -> None:
    temporal, url = RememberedRuns(), new_store()
    async with process(url, temporal, THREE) as one, process(url, temporal, THREE) as two:
        tasks = [one.deliver(message("a")), two.deliver(message("b"))]
        await held(one, "a", "b")
        runs = await all_of(*tasks, one.deliver(message("c")))
    assert temporal.sets == [["a", "b", "c"]]
    assert len(set(runs)) == 1


async def test_a_message_that_is_delivered_again_is_in_the_batch_once(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        tasks = [service.deliver(message("a", deliveries=n)) for n in (1, 2, 3)]
        await held(service, "a")
        runs = await all_of(*tasks, *(service.deliver(message(name)) for name in "bc"))
        assert await all_of(service.deliver(message("b", deliveries=2))) == [runs[0]]
        assert (await row_of(service, "a")).deliveries == 3
    assert temporal.sets == [["a", "b", "c"]]


async def test_an_identity_that_tells_something_else_is_refused_and_leaves_the_first_alone(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        first = service.deliver(message("a"))
        await held(service, "a")
        other = message("a", data="other")
        with pytest.raises(Conflict, match="came before, with other data") as refused:
            await service.deliver(other)
        # as its caller does then
        await Intake(None, service.store).bury(other, "chain", "sets", refused.value)  # pyright: ignore[reportArgumentType] -- burying starts nothing
        await all_of(first, *(service.deliver(message(name)) for name in "bc"))
        with pytest.raises(Conflict):
            await service.deliver(other)
    assert temporal.sets == [["a", "b", "c"]]


async def test_messages_whose_batch_can_never_start_are_dead_with_the_reason_and_keep_their_bytes(
    new_store: NewStore,
) -> None:
    url, temporal = new_store(), RememberedRuns()
    wrong = trigger(batch={"max": 2, "within": "1h"}, inputs={"sets": "${{ events.map(e, e.missing) }}"})
    async with process(url, temporal, wrong) as service:
        answers = await asyncio.gather(*(service.deliver(message(name)) for name in "ab"), return_exceptions=True)
        assert all(isinstance(answer, ExpressionFailed) for answer in answers)
        rows = [await row_of(service, name) for name in "ab"]
        assert {(row.outcome, row.code) for row in rows} == {("dead", "EXPRESSION_FAILED")}
        assert [row.data for row in rows] == [b'{"name": "a"}', b'{"name": "b"}']
        assert "input 'sets'" in rows[0].reason
        with pytest.raises(ExpressionFailed):  # delivered again, because its caller died before it was put aside
            await service.deliver(message("a", deliveries=2))
    unfit = trigger(batch={"max": 2, "within": "1h"}, inputs={"sets": "${{ event.name }}"})
    async with process(url, temporal, unfit) as service:  # published again, it gets another chance
        answers = await asyncio.gather(*(service.deliver(message(name)) for name in "ab"), return_exceptions=True)
        assert all(isinstance(answer, InputsInvalid) for answer in answers)
    async with process(url, temporal, trigger(batch={"max": 2, "within": "1h"})) as service:
        await all_of(*(service.deliver(message(name)) for name in "ab"))
    assert temporal.sets == [["a", "b"]]


async def test_while_temporal_is_down_the_batch_waits_and_its_messages_stay_together(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    temporal.unavailable = 3
    async with process(new_store(), temporal, THREE) as service:
        await all_of(*(service.deliver(message(name)) for name in "abc"))
    assert (temporal.unavailable, temporal.sets) == (0, [["a", "b", "c"]])


async def test_rows_alone_start_the_run_when_their_messages_never_come_again(new_store: NewStore) -> None:
    temporal, url = RememberedRuns(), new_store()
    async with process(url, temporal, THREE) as service:
        for name in "ab":
            service.deliver(message(name))
        await held(service, "a", "b")
    async with process(url, temporal, SOON) as service, asyncio.timeout(10):  # nothing is delivered to this one
        while (await row_of(service, "a")).outcome == "held":
            await asyncio.sleep(0.01)
        assert (await row_of(service, "b")).run_id == (await row_of(service, "a")).run_id
    assert temporal.sets == [["a", "b"]]


async def test_a_waiter_that_is_cancelled_leaves_its_message_in_the_batch(new_store: NewStore) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        first = service.deliver(message("a"))
        await held(service, "a")
        first.cancel()
        await all_of(*(service.deliver(message(name)) for name in "bc"))
    assert temporal.sets == [["a", "b", "c"]]


async def test_what_was_gathered_for_a_trigger_that_is_removed_is_dead_unless_its_run_has_started(
    new_store: NewStore,
) -> None:
    temporal, url = RememberedRuns(), new_store()
    started = Crash()
    async with process(url, temporal, THREE, crash=started) as service:
        for name in "abc":
            service.deliver(message(name))
        async with asyncio.timeout(10):
            while not await service.store.runs.requested("chain", (await _batch(service)) or "-"):
                await asyncio.sleep(0.001)
        started.dead.set()  # perhaps before the messages' rows said so
    async with process(url, RememberedRuns(), trigger(batch={"max": 9, "within": "1h"}), pace=FAST) as service:
        service.deliver(message("d"))
        await held(service, "d")
        async with asyncio.timeout(10):
            while await retire(service.store, "chain", "sets", claim=FAST.claim):
                await asyncio.sleep(0.01)
        assert {(await row_of(service, name)).outcome for name in "abc"} == {"started"}
        dead = await row_of(service, "d")
    assert (dead.outcome, dead.code, dead.data) == ("dead", NotFound.code, b'{"name": "d"}')


async def _batch(service: Process) -> str:
    row = await service.store.triggers.find("chain", "nats:id:a")
    return (row.batch if row else None) or ""


async def test_a_member_that_comes_again_when_its_trigger_gathers_no_more_finds_the_run_of_its_batch(
    new_store: NewStore,
) -> None:
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        [run, *_] = await all_of(*(service.deliver(message(name)) for name in "abc"))
        again = message("b", deliveries=2)
        alone = ask("chain", trigger(), [again], again.identity)
        assert await Intake(Starter(service.store, temporal), service.store).start(alone, [again]) == Started(
            run, False
        )
    assert temporal.sets == [["a", "b", "c"]]


async def test_a_message_that_was_to_start_a_run_of_its_own_is_gathered_unless_it_has(new_store: NewStore) -> None:
    """Its trigger gathers since its newest version; before, it waited for its turn."""
    temporal = RememberedRuns()
    async with process(new_store(), temporal, THREE) as service:
        alone = Starter(service.store, temporal)
        first = await alone.start(
            workflow="chain", inputs={"sets": ["a"]}, request_id="nats:id:a", trigger="nats", asked=message("a").digest
        )
        for name, run_id in (("a", first.run_id), ("b", "chain-never")):
            record = record_of(message(name), "chain", "sets")
            await service.store.triggers.put(replace(record, outcome="held", run_id=run_id, data=message(name).raw))
        assert await all_of(service.deliver(message("a", deliveries=2))) == [first.run_id]
        await all_of(*(service.deliver(message(name, deliveries=2)) for name in "bcd"))
    assert temporal.sets == [["a"], ["b", "c", "d"]]
