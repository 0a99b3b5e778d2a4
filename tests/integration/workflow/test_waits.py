"""Steps that wait for time. Messages are in tests/integration/triggers/test_awaited.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError

from tests.support.approvals import step_of, until_running
from tests.support.world import World
from tests.support.world import world as make_world
from workflows.messages import RunSnapshot
from workflows.outcome import StepState

pytestmark = pytest.mark.asyncio(loop_scope="module")
ARGO = {"argo": {"manifest": "m.yaml"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncGenerator[World]:
    async with make_world() as w:
        yield w


async def test_a_wait_lasts_as_long_as_it_says_and_not_at_all_when_its_time_is_past(world: World) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    handle = await world.start(
        {
            "rest": {"wait": {"duration": "400ms"}},
            "past": {"wait": {"until": "2020-01-01T00:00:00Z"}},
            "soon": {"wait": {"until": "${{ inputs.at }}"}},
            "after": {**ARGO, "needs": ["rest", "past", "soon"]},
        },
        {"at": soon},
        declared={"at": {"type": "string"}},
    )
    run = await handle.result()
    rest, past, until = (step_of(run, name) for name in ("rest", "past", "soon"))
    assert rest.duration is not None
    assert rest.duration >= timedelta(milliseconds=400)
    assert past.duration == timedelta(0)
    assert until.finished_at is not None
    assert until.finished_at >= datetime.fromisoformat(soon)
    assert {rest.state, past.state, until.state} == {StepState.SUCCEEDED}


async def test_what_cannot_be_waited_for_fails_the_step_with_a_reason_and_a_cancelled_wait_ends(world: World) -> None:
    handle = await world.start(
        {
            "never": {"wait": {"until": "${{ inputs.at }}"}},
            "deaf": {"wait": {"event": {"subject": "a.b"}}},
            "rest": {"wait": {"duration": "1h"}},
        },
        {"at": "tomorrow"},
        declared={"at": {"type": "string"}},
    )
    assert (await until_running(handle, "rest")).message.startswith("waits until 2")
    async with asyncio.timeout(20):
        while not step_of(await handle.query("state", result_type=RunSnapshot), "deaf").state.ended:
            await asyncio.sleep(0.02)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    run = world.store.snapshots[handle.id]
    assert step_of(run, "never").message == "until: 'tomorrow' is no point in time; write it as 2030-01-31T03:00:00Z"
    assert "this worker has no NATS" in step_of(run, "deaf").message
    assert step_of(run, "rest").state is StepState.CANCELLED
