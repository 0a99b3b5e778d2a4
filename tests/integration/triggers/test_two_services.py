"""Two services on the same consumers and one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from nats.js import JetStreamContext

from meta.service import Service
from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, eventually, publish, standing
from workflows.outcome import RunState

CLOCKS = timedelta(milliseconds=10)
"""How far apart the service's and Temporal's reading of the one clock may be."""


@pytest.fixture
async def second(rig: Rig) -> AsyncGenerator[Service]:
    async with Service(rig.config) as service:
        assert service.triggers is not None
        async with asyncio.timeout(30):
            await service.triggers.ready.wait()
        yield service


async def started_at(rig: Rig) -> list[datetime]:
    async with rig.client() as client:
        return sorted(run.started_at for run in (await client.list()).runs if run.started_at is not None)


async def test_each_message_starts_one_run_in_one_of_them(rig: Rig, second: Service, js: JetStreamContext) -> None:
    [row] = await publish(rig, "{subject: a.b, inputs: {note: '${{ event.note }}'}}")
    assert second.triggers is not None
    second.triggers.nudge()

    async def both() -> bool:
        info = await js.consumer_info(row.stream, row.consumer)
        return (info.num_waiting or 0) >= 2

    await eventually(both)
    for number in range(30):
        await js.publish("a.b", b'{"note": "%d"}' % number)
    found = await ended(rig, 30)
    await drained(js, row.stream, row.consumer)
    assert {(e.outcome, e.deliveries) for e in found} == {("started", 1)}
    assert len({e.run_id for e in found}) == 30
    created = (await js.consumer_info(row.stream, row.consumer)).created
    [again] = await standing(second.store, 1)
    assert again.since == row.since
    assert (await js.consumer_info(row.stream, row.consumer)).created == created, "neither makes it anew"


async def test_concurrency_holds_over_both_and_counts_until_runs_have_ended(
    rig: Rig, second: Service, js: JetStreamContext
) -> None:
    rig.engine.script = {"prepare": [None]}  # runs wait until the test lets them go on
    await rig.work()
    [row] = await publish(rig, "{subject: a.b, concurrency: 2, ackWait: 1s, maxDeliver: 1}")
    assert second.triggers is not None
    second.triggers.nudge()
    for _ in range(4):
        await js.publish("a.b", b"{}")
    most = 0

    async def running() -> int:
        nonlocal most
        async with rig.client() as client:
            runs = (await client.list()).runs
        now = sum(run.state is RunState.RUNNING for run in runs)
        most = max(most, now)
        return len(runs)

    for count in (2, 4):

        async def reached(count: int = count) -> bool:
            return await running() == count and len(rig.engine.submitted) >= count

        await eventually(reached, 30)
        await rig.engine.until(lambda count=count: sum(s.key.step == "prepare" for s in rig.engine.submitted) == count)
        rig.engine.finish("prepare")
    await drained(js, row.stream, row.consumer)
    assert most == 2
    assert {e.outcome for e in await rig.store.triggers.list()} == {"started"}, "waiting is no failure"


async def test_a_rate_spaces_the_starts_of_both(rig: Rig, second: Service, js: JetStreamContext) -> None:
    [row] = await publish(rig, "{subject: a.b, rate: 120/m, ackWait: 1s, maxDeliver: 1}")
    assert second.triggers is not None
    second.triggers.nudge()
    before = datetime.now(UTC)
    for _ in range(5):
        await js.publish("a.b", b"{}")
    await ended(rig, 5)
    await drained(js, row.stream, row.consumer)
    early = [
        start - before
        for turn, start in enumerate(await started_at(rig))
        if start - before < timedelta(seconds=0.5 * turn) - CLOCKS
    ]
    assert not early, "a start is as late as its server makes it, but never before its turn"
