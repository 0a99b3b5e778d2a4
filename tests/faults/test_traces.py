"""A run's trace is one whole tree at the collector, at any time, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.tracing import DeadlyRequests, Field, tracing_field
from tests.faults.triggers import SLOW_S, ServerProcess

pytestmark = [pytest.mark.timeout(1200), pytest.mark.prove]  # a killed worker's waits are taken over after a while

LONG_S = 400.0
"""For a run whose worker was killed while it submitted: that try has to run out."""


async def kill(process: ServerProcess) -> None:
    await process.kill()
    await process.start()


async def kill_worker(ground: Field, submits: int, later_s: float) -> None:
    """Kill the worker a moment after the engines have got so many runs: while it submits, waits, or records."""
    async with asyncio.timeout(LONG_S):
        while len(ground.argo.workflows) + len(ground.kfp.runs) < submits:
            await asyncio.sleep(0.01)
    await asyncio.sleep(later_s)  # the moment itself
    await kill(ground.worker)


@pytest.mark.parametrize(
    ("seed", "worker_kills"),
    [(seed, 1 + seed % 2) for seed in range(20)],
)
async def test_a_trace_is_one_tree_at_any_time_whoever_is_killed(tmp_path: Path, seed: int, worker_kills: int) -> None:
    chance = random.Random(seed)
    async with tracing_field(tmp_path, services=1) as ground:
        points = {chance.choice((1, 2)), chance.choice((3, 4, 5, 6))}
        deadly = DeadlyRequests(
            ground.collector, points, lambda: asyncio.create_task(kill(ground.services[0]), name="kill")
        )
        deadly.arm()
        ground.argo.duration = ground.kfp.duration = 1.0
        at = sorted(chance.sample(range(1, 9), worker_kills))
        killing = [asyncio.create_task(kill_worker(ground, submits, chance.random())) for submits in at]
        runs = [await ground.start_run(failing=chance.random() < 0.5) for _ in range(3)]
        for run_id in runs:
            await ground.ended(run_id, LONG_S)
        await asyncio.gather(*killing)
        assert deadly.done, "a busy machine tells of much in few requests, but of something in the first two"
        assert ground.collector.faults == []
        for run_id in runs:
            await ground.check(run_id)
        told = ground.collector.spans
        assert len(told) > len({span.span_id for span in told}), "what was cut off has come again"


async def test_two_services_and_a_collector_that_goes_away_make_one_tree_of_each_run(tmp_path: Path) -> None:
    async with tracing_field(tmp_path, services=2) as ground:
        runs = [await ground.start_run(failing=number == 1) for number in range(3)]
        await ground.collector.until(lambda: ground.collector.tried >= 2, SLOW_S)
        await ground.collector.stop()
        await ground.services[0].kill()
        async with asyncio.timeout(SLOW_S):
            while not (await ground.store.runs.get(runs[0])).state.ended:
                await asyncio.sleep(0.05)
        await ground.collector.start()
        for run_id in runs:
            await ground.ended(run_id)
            await ground.check(run_id)
        assert ground.collector.faults == []
