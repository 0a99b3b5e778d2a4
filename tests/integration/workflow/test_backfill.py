"""Backfills: partitions in order, a few at a time; done ones are skipped; paused, cancelled, and gone on with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from tests.support.nested import ARGO, publish
from tests.support.world import World
from workflows import backfill as backfill_module
from workflows.child_messages import BACKFILL_TYPE, BackfillPlan, BackfillProgress, StartBackfill
from workflows.messages import TASK_QUEUE
from workflows.naming import request_run_id
from workflows.outcome import FailureClass, Outcome, RunState

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILED = Outcome(failure=FailureClass.FAILED, message="exit code 1")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


async def begun(
    world: World, name: str, count: int, *, again: bool = False, parallelism: int = 2
) -> WorkflowHandle[object, BackfillProgress]:
    """A backfill of so many days, of a workflow that was published."""
    plan = BackfillPlan(
        workflow=name,
        bundle_digest=world.store.published[name],
        start=START,
        end=START + count * DAY,
        step=DAY,
        parallelism=parallelism,
        inputs={"day": "${{ event.date }}", "until": "${{ event.end }}"},
        again=again,
    )
    return await world.client.start_workflow(
        BACKFILL_TYPE,
        StartBackfill(plan=plan),
        id=f"backfill-{name}-{len(world.engine.submitted)}-{again}",
        task_queue=TASK_QUEUE,
        result_type=BackfillProgress,
    )


def report(world: World, name: str) -> None:
    """Publish a workflow that makes a report of a day."""
    day = {"type": "string"}
    step = {**ARGO, "parameters": {"day": "${{ inputs.day }}"}}
    publish(world, name, {"make": step}, declared={"day": day, "until": day})


def run_id(name: str, day: int, attempt: int = 1) -> str:
    start, end = (f"2026-01-{at:02}T00:00:00Z" for at in (day, day + 1))
    return request_run_id(name, f"backfill/{start}/{end}/{attempt}")


def days(world: World) -> list[object]:
    return [one.parameters["day"] for one in world.engine.submitted]


async def until(handle: WorkflowHandle[object, BackfillProgress], **wanted: object) -> None:
    async with asyncio.timeout(30):
        while True:
            now = await handle.query("progress", result_type=BackfillProgress)
            if all(getattr(now, name) == value for name, value in wanted.items()):
                return
            await asyncio.sleep(0.02)


async def test_a_partition_that_failed_is_all_that_runs_again(shared: World) -> None:
    report(shared, "six")
    shared.engine.script["make"] = [Outcome(), Outcome(), FAILED, Outcome()]
    handle = await begun(shared, "six", 6, parallelism=1)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert "1 of 6 partitions failed" in str(caught.value.cause)
    assert days(shared) == [f"2026-01-0{day}" for day in range(1, 7)]
    first = shared.store.snapshots[run_id("six", 1)]
    assert first.inputs == {"day": "2026-01-01", "until": "2026-01-02T00:00:00Z"}
    assert (first.trigger, first.state) == ("backfill", RunState.SUCCEEDED)
    assert first.cause is not None
    assert first.cause.kind == "backfill"

    again = await (await begun(shared, "six", 6)).result()
    assert (again.done, again.skipped, again.failed) == (6, 5, 0)
    assert days(shared)[6:] == ["2026-01-03"]
    assert shared.store.snapshots[run_id("six", 3, attempt=2)].state is RunState.SUCCEEDED


async def test_partitions_that_are_done_run_again_when_that_is_asked_for(shared: World) -> None:
    report(shared, "again")
    await (await begun(shared, "again", 2)).result()
    ended = await (await begun(shared, "again", 2, again=True)).result()
    assert (ended.done, ended.skipped) == (2, 0)
    assert len(days(shared)) == 4


async def test_no_more_run_at_a_time_than_are_allowed_and_none_begins_while_it_is_paused(shared: World) -> None:
    report(shared, "bounded")
    shared.engine.script["make"] = [None]
    handle = await begun(shared, "bounded", 5, parallelism=2)
    await shared.engine.until(lambda: len(shared.engine.submitted) == 2)
    await until(handle, running=2, next=2)
    await handle.signal("pause", "the source is down")
    shared.engine.finish("make")
    await until(handle, running=0, done=2, paused=True, note="the source is down")
    assert len(shared.engine.submitted) == 2
    shared.engine.script["make"] = [Outcome()]
    await handle.signal("resume", "")
    ended = await handle.result()
    assert (ended.done, ended.failed, ended.paused) == (5, 0, False)


async def test_a_cancelled_backfill_ends_its_runs_first(shared: World) -> None:
    report(shared, "ended")
    shared.engine.script["make"] = [None]
    handle = await begun(shared, "ended", 5, parallelism=2)
    await shared.engine.until(lambda: len(shared.engine.submitted) == 2)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert len(shared.engine.terminated) == 2
    assert [shared.store.snapshots[run_id("ended", day)].state for day in (1, 2)] == [RunState.CANCELED] * 2
    shared.engine.script["make"] = [Outcome()]
    assert (await (await begun(shared, "ended", 5)).result()).done == 5


async def test_inputs_that_cannot_be_computed_fail_their_partition_and_say_why(shared: World) -> None:
    report(shared, "broken")
    publish(shared, "broken", {"make": ARGO}, declared={"day": {"type": "string"}})
    handle = await begun(shared, "broken", 1)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    now = await handle.query("progress", result_type=BackfillProgress)
    assert (now.failed, now.running) == (1, 0)
    assert "2026-01-01T00:00:00Z: unknown input 'until'" in now.messages[0]


@pytest.mark.prove  # ten seconds between two looks
async def test_a_partition_that_another_backfill_is_at_is_waited_for(shared: World) -> None:
    report(shared, "shared")
    shared.engine.script["make"] = [None]
    first = await begun(shared, "shared", 1)
    await shared.engine.until(lambda: len(shared.engine.submitted) == 1)
    while run_id("shared", 1) not in shared.store.started:
        await asyncio.sleep(0.01)
    second = await begun(shared, "shared", 1)
    await until(second, running=1)
    shared.engine.finish("make")
    assert (await first.result()).skipped == 0
    assert (await second.result()).skipped == 1
    assert len(shared.engine.submitted) == 1


async def test_a_history_that_grows_long_is_followed_by_another(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_module, "AT_A_TIME", 3)
    report(shared, "longer")
    shared.engine.script["make"] = [FAILED, Outcome()]
    handle = await begun(shared, "longer", 7)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert sorted(map(str, days(shared))) == [f"2026-01-0{day}" for day in range(1, 8)]
    now = await handle.query("progress", result_type=BackfillProgress)
    assert (now.done, now.failed, now.running, len(now.failed_runs)) == (6, 1, 0, 1)
    assert (await handle.describe()).run_id != handle.first_execution_run_id


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_a_long_backfill_goes_on_in_a_history_of_its_own(shared: World) -> None:
    report(shared, "long")
    count = backfill_module.AT_A_TIME + 20
    handle = await begun(shared, "long", count, parallelism=20)
    assert (await handle.result()).done == count
    assert len(set(days(shared))) == count
    assert (await handle.describe()).run_id != handle.first_execution_run_id
