"""Runs go on, and every message starts its one run, while NATS or Temporal goes away or a stream is made anew."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.faults.triggers import SLOW_S, Ground, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, marks=pytest.mark.prove)])
async def test_nats_down_in_the_middle_of_runs_stops_none_and_messages_go_on_afterwards(
    shared_ground: Ground, seconds: float
) -> None:
    trial = await shared_ground.trial(f"down{seconds:.0f}")
    shared_ground.engine.script["work"] = [None]  # until the test ends them
    for number in range(5):
        await shared_ground.send(f"{trial.name}.before", {"n": number})
    await trial.drained()
    await shared_ground.engine.until(lambda: len(trial.submitted()) == 5, SLOW_S)
    await shared_ground.nats.kill()
    down_until = asyncio.get_running_loop().time() + seconds
    shared_ground.engine.finish("work")
    del shared_ground.engine.script["work"]

    async def ended() -> bool:
        return len(await trial.runs("Completed")) == 5

    await eventually(ended, SLOW_S, "runs end without NATS")
    waiting = asyncio.create_task(shared_ground.send(f"{trial.name}.meanwhile", {"n": 5}, {"Nats-Msg-Id": "5"}))
    await asyncio.sleep(max(0.0, down_until - asyncio.get_running_loop().time()))  # as long as it is down: no state
    assert not waiting.done()
    await shared_ground.nats.start()
    await waiting
    await shared_ground.send(f"{trial.name}.after", {"n": 6})
    await trial.drained()
    await trial.assert_runs(range(7))


@pytest.mark.parametrize("restarts", [2, pytest.param(8, marks=pytest.mark.prove)])
async def test_nats_restarted_under_load_starts_one_run_for_each_message_that_it_acknowledged(
    shared_ground: Ground, restarts: int
) -> None:
    chance = random.Random(7)
    trial = await shared_ground.trial(f"restarted{restarts}")
    async with trial.publishing() as producer:
        for _ in range(restarts):
            await producer.more(chance.randrange(5, 20))
            await shared_ground.nats.kill()
            await shared_ground.nats.start()
        stored = await producer.stop()
    await trial.drained()
    await trial.assert_runs(range(stored))


async def test_a_stream_deleted_and_made_again_has_its_messages_start_runs_of_their_own(shared_ground: Ground) -> None:
    trial = await shared_ground.trial("remade")
    first = [await shared_ground.send("remade.made", {"n": number}) for number in range(5)]
    await trial.drained()
    await shared_ground.js.delete_stream(trial.stream)
    await trial.make_stream()
    second = [await shared_ground.send("remade.made", {"n": number}) for number in range(5, 10)]
    assert [ack.seq for ack in first] == [ack.seq for ack in second]
    await eventually(trial.pulled, SLOW_S, "somebody pulls from the new stream")
    await trial.drained()
    await trial.assert_runs(range(10))


@pytest.mark.prove
async def test_temporal_killed_under_load_starts_one_run_for_each_message(shared_ground: Ground) -> None:
    trial = await shared_ground.trial("temporal")
    async with trial.publishing() as producer:
        await producer.more(5)
        await eventually(trial.begun, SLOW_S, "messages start runs")
        await shared_ground.temporal.kill()
        await producer.more(20)
        stored = await producer.stop()
        await shared_ground.temporal.start()
    await trial.drained()
    await trial.assert_runs(range(stored))
    assert not await trial.events("dead"), "an outage kills no message"
