"""A worker that goes away while runs are inside runs: the next one goes on where it was, and starts nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client

from tests.support.engine import ScriptedEngine
from tests.support.memory import MemoryStore
from tests.support.nested import ARGO, publish
from tests.support.world import World
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.child_messages import (
    BACKFILL_TYPE,
    TICK_TYPE,
    BackfillPlan,
    BackfillProgress,
    StartBackfill,
    Tick,
    TickEnd,
)
from workflows.messages import TASK_QUEUE
from workflows.outcome import Outcome, RunState


@asynccontextmanager
async def worker(w: World) -> AsyncGenerator[None]:
    """A worker with nothing in its memory; leaving it cancels nothing."""
    objects = ArtifactStore(StoreSettings(endpoint="http://127.0.0.1:1"))
    activities = Activities(engines={"argo": w.engine}, objects=objects, bundles=w.store, recorder=w.store)
    async with run_workers(w.client, activities, Sizes(shutdown_grace_s=0.1)):
        yield


@pytest.mark.prove  # Temporal waits ten seconds for a worker that went, and fifteen for its waits
async def test_a_step_a_schedule_and_a_backfill_go_on_with_the_next_worker(temporal: Client) -> None:
    await register_search_attributes(temporal)
    w = World(temporal, ScriptedEngine(), MemoryStore())
    w.engine.script["train"] = [None]
    triggers: list[object] = [{"schedule": {"every": "1h", "name": "hourly"}}]
    publish(w, "inner", {"train": ARGO}, triggers=triggers)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    plan = BackfillPlan(
        workflow="inner", bundle_digest=w.store.published["inner"], start=start, end=start + timedelta(days=4),
        step=timedelta(days=1), parallelism=2,
    )  # fmt: skip
    async with worker(w):
        outer = await w.start({"nested": {"workflow": {"name": "inner"}}})
        tick = await temporal.start_workflow(
            TICK_TYPE, Tick(workflow="inner", trigger="hourly"), id="tick", task_queue=TASK_QUEUE, result_type=TickEnd
        )
        backfill = await temporal.start_workflow(
            BACKFILL_TYPE, StartBackfill(plan=plan), id="backfill", task_queue=TASK_QUEUE, result_type=BackfillProgress
        )
        await w.engine.until(lambda: len(w.engine.submitted) == 4)
        assert not w.engine.terminated
    async with worker(w):
        w.engine.script["train"] = [Outcome()]
        w.engine.finish("train")
        assert (await outer.result()).state is RunState.SUCCEEDED
        assert (await tick.result()).run_id in w.store.snapshots
        ended = await backfill.result()
    assert (ended.done, ended.failed) == (4, 0)
    assert len(w.engine.submitted) == 6
    assert not w.engine.terminated
    await w.engine.close()


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_workers_that_go_again_and_again_run_each_partition_once(temporal: Client) -> None:
    await register_search_attributes(temporal)
    w = World(temporal, ScriptedEngine(), MemoryStore())
    publish(w, "inner", {"train": ARGO, "after": {**ARGO, "needs": ["train"]}})
    start = datetime(2026, 1, 1, tzinfo=UTC)
    count = 200
    plan = BackfillPlan(
        workflow="inner", bundle_digest=w.store.published["inner"], start=start, end=start + timedelta(days=count),
        step=timedelta(days=1), parallelism=10,
    )  # fmt: skip
    backfill = await temporal.start_workflow(
        BACKFILL_TYPE, StartBackfill(plan=plan), id="backfill", task_queue=TASK_QUEUE, result_type=BackfillProgress
    )
    ended = asyncio.ensure_future(backfill.result())
    while not ended.done():
        async with worker(w):
            seen = len(w.engine.submitted)
            while not ended.done() and len(w.engine.submitted) < seen + 60:
                await asyncio.sleep(0.02)
    assert (ended.result().done, ended.result().failed) == (count, 0)
    assert len(w.engine.submitted) == 2 * count
    await w.engine.close()
