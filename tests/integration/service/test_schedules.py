"""Schedules at a real Temporal: they follow the published definition, and their runs are runs like others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from temporalio.client import (
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError

from meta.client import MetaClient, ScheduleInfo
from meta.schedules.making import schedule_id
from meta.schedules.runtime import Schedules
from tests.integration.service.servers import Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.temporal import temporal_server
from workflows.errors import NotFound
from workflows.outcome import FailureClass, Outcome, RunState

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {{name: {name}}}
inputs: {{day: {{type: string}}}}
steps: {{make: {{argo: {{template: make}}, parameters: {{day: "${{{{ inputs.day }}}}"}}}}}}
outputs: {{day: "${{{{ inputs.day }}}}"}}
triggers:
{triggers}
"""
NIGHTLY = 'cron: "0 3 1 1 *", name: nightly, inputs: {day: "${{ event.date }}"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    """One service for all tests of this module; each has workflows of its own."""
    async with temporal_server() as temporal, make_rig(temporal, tmp_path_factory.mktemp("service")) as made:
        await made.work()
        yield made


async def publish(rig: Rig, name: str, *schedules: str) -> None:
    triggers = "\n".join(f"  - schedule: {{{one}}}" for one in schedules)
    file = Path(rig.folder / f"{name}.yaml")
    file.write_text(DEFINITION.format(name=name, triggers=triggers or "  []"))
    async with rig.client() as client:
        await client.publish(file)


async def described(rig: Rig, name: str, trigger: str = "nightly") -> ScheduleDescription:
    return await rig.temporal.get_schedule_handle(schedule_id(name, trigger)).describe()


async def settled(rig: Rig, name: str) -> list[ScheduleInfo]:
    """How the schedules of a workflow stand when the service has caught up."""
    async with asyncio.timeout(30), rig.client() as client:
        while True:
            found = await client.schedules(name)
            if all(one.state == "ok" for one in found):
                return found
            await asyncio.sleep(0.05)


async def fired(client: MetaClient, name: str) -> str:
    """Fire the one schedule of a workflow; the id of its run."""
    (known,) = await client.schedules(name)
    before = known.last_run_id
    while known.last is not None and datetime.now(UTC) - known.last < timedelta(seconds=1):
        await asyncio.sleep(0.05)  # Temporal plans in whole seconds: the same one twice is one run
    await client.fire_schedule(name)
    async with asyncio.timeout(30):
        while (found := (await client.schedules(name))[0].last_run_id) in ("", before):
            await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        while True:
            try:
                return (await client.get(found)).id
            except NotFound:
                await asyncio.sleep(0.05)


async def test_a_fired_schedule_runs_its_workflow_with_inputs_of_the_time(rig: Rig) -> None:
    await publish(rig, "fired", NIGHTLY)
    assert [(one.trigger, one.times) for one in await settled(rig, "fired")] == [("nightly", "0 3 1 1 *")]
    async with rig.client() as client:
        run = await client.wait(await fired(client, "fired"))
        (known,) = await client.schedules("fired")
        assert known.next[0].strftime("%m-%d %H:%M") == "01-01 03:00"
    assert (run.state, run.trigger) == (RunState.SUCCEEDED, "schedule")
    cause = (await rig.store.runs.get(run.id)).cause
    assert cause is not None
    assert cause.at is not None
    assert (cause.kind, cause.name) == ("schedule", "nightly")
    assert run.inputs == run.outputs == {"day": f"{cause.at:%Y-%m-%d}"}
    assert known.last is not None
    assert abs(cause.at - known.last) < timedelta(seconds=30)


async def test_an_edited_definition_changes_its_schedule_and_a_removed_one_takes_it_away(rig: Rig) -> None:
    await publish(rig, "edited", NIGHTLY)
    await settled(rig, "edited")
    await publish(
        rig, "edited",
        'every: 6h, offset: 1h, name: nightly, overlap: cancel_other, catchup: 1h, jitter: 5s, inputs: {day: x}',
        'cron: "@monthly", name: monthly, timezone: Europe/Berlin, inputs: {day: x}',
    )  # fmt: skip
    await settled(rig, "edited")
    first, second = [await described(rig, "edited", one) for one in ("nightly", "monthly")]
    spec, policy = first.schedule.spec, first.schedule.policy
    assert [(one.every, one.offset) for one in spec.intervals] == [(timedelta(hours=6), timedelta(hours=1))]
    assert not spec.calendars
    assert (policy.overlap, policy.catchup_window) == (ScheduleOverlapPolicy.CANCEL_OTHER, timedelta(hours=1))
    assert spec.jitter == timedelta(seconds=5)
    assert second.schedule.spec.time_zone_name == "Europe/Berlin"
    await publish(rig, "edited", NIGHTLY)
    async with asyncio.timeout(30):
        while await is_there(rig, "edited", "monthly"):
            await asyncio.sleep(0.05)
    assert await is_there(rig, "edited", "nightly")
    async with rig.client() as client:
        assert await client.delete_workflow("edited") == 1
    async with asyncio.timeout(30):
        while await is_there(rig, "edited", "nightly"):
            await asyncio.sleep(0.05)


async def is_there(rig: Rig, name: str, trigger: str) -> bool:
    try:
        await described(rig, name, trigger)
    except RPCError:
        return False
    return True


async def test_what_is_paused_by_hand_stays_so_until_a_definition_says_otherwise(rig: Rig) -> None:
    await publish(rig, "paused", NIGHTLY)
    await settled(rig, "paused")
    async with rig.client() as client:
        (one,) = await client.pause_schedule("paused", note="the source is down")
    assert (one.paused, one.note, one.next) == (True, "the source is down", [])
    await publish(rig, "paused", NIGHTLY.replace("0 3", "0 4"))
    (one,) = await settled(rig, "paused")
    assert (one.times, one.paused, one.note) == ("0 4 1 1 *", True, "the source is down")
    await publish(rig, "paused", NIGHTLY + ", paused: false")
    (one,) = await settled(rig, "paused")
    assert (one.paused, one.note) == (False, "resumed by version 3")
    async with rig.client() as client:
        await client.pause_schedule("paused")
        await rig.service.schedules.round()
        assert (await client.schedules("paused"))[0].paused
        (one,) = await client.resume_schedule("paused", "nightly", "mended")
    assert (one.paused, one.note) == (False, "mended")


async def test_several_services_agree_and_the_older_view_does_not_win(rig: Rig) -> None:
    other = Schedules(rig.store, rig.service.temporal)
    await publish(rig, "several", NIGHTLY)
    await settled(rig, "several")
    await other.round()
    stale = [one for one in await other.wanted() if one.workflow == "several"]
    await publish(rig, "several", NIGHTLY.replace("0 3", "0 5"))
    await settled(rig, "several")
    mark = await tick_of(rig, "several")
    await other.ensure(stale[0])
    assert await tick_of(rig, "several") == mark
    await rig.temporal.get_schedule_handle(schedule_id("several", "nightly")).delete()
    await Schedules(rig.store, rig.service.temporal).round()
    assert await tick_of(rig, "several") == mark, "what somebody has deleted by hand comes back"


async def tick_of(rig: Rig, name: str) -> bytes:
    action = (await described(rig, name)).schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    return cast(bytes, getattr(action.args[0], "data"))  # noqa: B009 -- a payload


async def test_temporals_overlap_policy_sees_the_run_and_cancels_it(rig: Rig) -> None:
    rig.engine.forget()
    rig.engine.script["make"] = [None]
    await publish(rig, "overlap", NIGHTLY + ", overlap: cancel_other")
    await settled(rig, "overlap")
    async with rig.client() as client:
        first = await fired(client, "overlap")
        await rig.engine.until(lambda: len(rig.engine.submitted) == 1)
        second = await fired(client, "overlap")
        assert (await client.wait(first)).state is RunState.CANCELED
        assert len(rig.engine.terminated) == 1
        await rig.engine.until(lambda: len(rig.engine.submitted) == 2)
        rig.engine.finish("make")
        assert (await client.wait(second)).state is RunState.SUCCEEDED


async def test_a_failed_run_fails_its_tick_and_terminating_a_tick_ends_its_run(rig: Rig) -> None:
    rig.engine.forget()
    rig.engine.script["make"] = [Outcome(failure=FailureClass.FAILED, message="exit code 1"), None]
    await publish(rig, "ends", NIGHTLY)
    await settled(rig, "ends")
    async with rig.client() as client:
        assert (await client.wait(await fired(client, "ends"))).state is RunState.FAILED
        run = await fired(client, "ends")
        await rig.engine.until(lambda: len(rig.engine.submitted) == 2)
        action = (await described(rig, "ends")).info.recent_actions[-1].action
        assert isinstance(action, ScheduleActionExecutionStartWorkflow)
        await rig.temporal.get_workflow_handle(action.workflow_id).terminate()
        assert (await client.wait(run)).state is RunState.CANCELED
    assert len(rig.engine.terminated) == 1


async def test_what_is_not_there_is_said(rig: Rig) -> None:
    await publish(rig, "plain")
    async with rig.client() as client:
        assert await client.schedules("plain") == []
        with pytest.raises(NotFound, match="plain has no schedule"):
            await client.fire_schedule("plain")
        await publish(rig, "plain", NIGHTLY)
        with pytest.raises(NotFound, match="no schedule 'nightli'"):
            await client.pause_schedule("plain", "nightli")
        with pytest.raises(NotFound, match="no workflow 'plane'"):
            await client.schedules("plane")
        assert (await client.fire_schedule("plain"))[0].state == "ok", "made first, where it was not there yet"
