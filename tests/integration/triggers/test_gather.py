"""Many messages, one run: `batch` and `debounce`, with a real NATS and a real Temporal."""

from __future__ import annotations

import json
from typing import cast

from nats.js import JetStreamContext

from meta.config import GrpcConfig
from meta.service import Service
from meta.store.event_tables import TriggerEventRow, TriggerRow
from meta.triggers.names import DEAD_STREAM
from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, eventually, publish, standing
from workflows.outcome import Outcome

INPUTS = 'inputs: {rate: "${{ size(events) }}", note: "${{ events[0].id }} to ${{ event.id }}"}'
THREE = f"{{subject: sets.*, name: sets, batch: {{max: 3, within: 1h}}, {INPUTS}}}"


async def send(js: JetStreamContext, *names: str, subject: str = "sets.new") -> None:
    for name in names:
        await js.publish(subject, json.dumps({"name": name}).encode(), headers={"Nats-Msg-Id": name})


async def held(rig: Rig, *names: str) -> None:
    async def probe() -> bool:
        return {one.identity for one in await rig.store.gathering.held("chain", "sets")} == {
            f"nats:id:{n}" for n in names
        }

    await eventually(probe)


async def unacknowledged(js: JetStreamContext, row: TriggerRow, count: int) -> None:
    async def probe() -> bool:
        return (await js.consumer_info(row.stream, row.consumer)).num_ack_pending == count

    await eventually(probe)


async def notes(rig: Rig) -> list[tuple[object, object]]:
    """How many messages each run had, and which: the first and the last."""
    async with rig.client() as client:
        runs = (await client.list()).runs
    stored = [await rig.store.runs.get(run.id) for run in runs]
    return sorted((run.inputs["rate"], run.inputs["note"]) for run in stored)  # pyright: ignore[reportArgumentType] -- a number and a text


def runs_of(rows: list[TriggerEventRow]) -> dict[str, str | None]:
    return {row.identity: row.run_id for row in rows if row.outcome == "started"}


async def test_messages_become_runs_of_so_many_and_stay_unacknowledged_until_then(
    rig: Rig, js: JetStreamContext
) -> None:
    [row] = await publish(rig, THREE)
    await send(js, *"abcdefg")
    rows = await ended(rig, 6)
    await held(rig, "g")
    await unacknowledged(js, row, 1)
    assert await notes(rig) == [(3, "a to c"), (3, "d to f")]
    assert len(set(runs_of(rows).values())) == 2

    await rig.restart()  # what is held by a service that ends is held on
    await js.purge_stream(row.stream)  # and its message never comes again
    await send(js, "h", "i")
    await ended(rig, 8 + 1)
    await drained(js, row.stream, row.consumer)
    assert await notes(rig) == [(3, "a to c"), (3, "d to f"), (3, "g to i")]


async def test_two_services_share_a_batch_and_their_messages_are_acknowledged_once_it_has_started(
    rig: Rig, js: JetStreamContext
) -> None:
    [row] = await publish(rig, f"{{subject: sets.*, name: sets, batch: {{max: 30, within: 1h}}, {INPUTS}}}")
    other = Service(rig.config.model_copy(update={"grpc": GrpcConfig(address="127.0.0.1:0")}))
    async with other:
        assert other.triggers is not None
        await other.triggers.ready.wait()
        names = [f"m{n:03}" for n in range(90)]
        await send(js, *names)
        rows = await ended(rig, 90)
        await drained(js, row.stream, row.consumer)
    assert [count for count, _ in await notes(rig)] == [30, 30, 30]
    assert len(runs_of(rows)) == 90


async def test_a_burst_is_one_run_that_waits_for_its_turn(rig: Rig, js: JetStreamContext) -> None:
    rig.engine.script["prepare"] = [None, Outcome()]
    await rig.work()
    [row] = await publish(rig, f"{{subject: sets.*, name: sets, debounce: 300ms, concurrency: 1, {INPUTS}}}")
    await send(js, *(f"m{n:03}" for n in range(60)))
    await ended(rig, 60)
    await send(js, "again")

    async def is_its_turn_to_wait() -> bool:
        waiting = await rig.store.gathering.held("chain", "sets")
        return bool(waiting) and all(one.batch for one in waiting)

    await eventually(is_its_turn_to_wait)
    assert await notes(rig) == [(60, "m000 to m059")]
    await rig.engine.until(lambda: rig.engine.steps() == ["prepare"])
    rig.engine.finish("prepare")
    await ended(rig, 61)
    await drained(js, row.stream, row.consumer)
    assert await notes(rig) == [(1, "again to again"), (60, "m000 to m059")]


async def test_a_batch_that_can_never_start_puts_all_its_messages_aside(rig: Rig, js: JetStreamContext) -> None:
    [row] = await publish(
        rig, '{subject: sets.*, name: sets, batch: {max: 2, within: 1h}, inputs: {rate: "${{ event.missing }}"}}'
    )
    await send(js, "a", "b")
    rows = await ended(rig, 2)
    await drained(js, row.stream, row.consumer)
    assert {(one.outcome, one.code) for one in rows} == {("dead", "EXPRESSION_FAILED")}
    assert sorted(one.data or b"" for one in rows) == [b'{"name": "a"}', b'{"name": "b"}']

    async def told() -> bool:
        return (await js.stream_info(DEAD_STREAM)).state.messages == 2

    await eventually(told)
    last = await js.get_last_msg(DEAD_STREAM, "meta.dead.chain")
    assert "input 'rate'" in json.loads(cast(dict[str, str], last.headers)["Meta-Reason"])


async def test_what_a_trigger_gathered_before_it_was_removed_is_put_aside_and_starts_nothing(
    rig: Rig, js: JetStreamContext
) -> None:
    await publish(rig, THREE)
    await send(js, "a", "b")
    await held(rig, "a", "b")
    await publish(rig)
    await standing(rig.store, 0)
    rows = await ended(rig, 2)
    assert {(one.outcome, one.data is None) for one in rows} == {("dead", False)}
    assert "was removed" in rows[0].reason
    assert await notes(rig) == []


async def test_a_trigger_that_gathers_no_more_starts_a_run_for_each_message_it_had_gathered(
    rig: Rig, js: JetStreamContext
) -> None:
    [row] = await publish(rig, THREE)
    await send(js, "a", "b")
    await held(rig, "a", "b")
    await publish(rig, f"{{subject: sets.*, name: sets, {INPUTS}}}")

    async def started() -> bool:
        return len(runs_of(await rig.store.triggers.list())) == 2

    await eventually(started)
    await drained(js, row.stream, row.consumer)
    assert await notes(rig) == [(1, "a to a"), (1, "b to b")]
