"""Workers of Temporal's SDK that do not stop when they are told to."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.engine import ScriptedEngine
from tests.support.memory import MemoryStore
from tests.support.temporal import temporal_server
from tests.support.world import World
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.base import Submission
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.outcome import EngineRunRef


class StubbornEngine(ScriptedEngine):
    """Its submits end when the test lets them, however often they are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.released = asyncio.Event(), asyncio.Event()

    async def submit(self, submission: Submission) -> EngineRunRef:
        self.begun.set()
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue
        return await super().submit(submission)


def activities_of(engine: ScriptedEngine, store: MemoryStore) -> Activities:
    objects = ArtifactStore(StoreSettings(endpoint="http://127.0.0.1:1"))
    return Activities(engines={"argo": engine}, objects=objects, bundles=store, recorder=store)


def workers() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "Worker.__aenter__" in repr(task.get_coro())]


async def test_a_worker_that_does_not_stop_is_left_and_said(caplog: pytest.LogCaptureFixture) -> None:
    engine, store = StubbornEngine(), MemoryStore()
    activities = activities_of(engine, store)
    async with temporal_server() as client, asyncio.timeout(60):
        await register_search_attributes(client)
        async with run_workers(client, activities, Sizes(shutdown_grace_s=0.1, shutdown_limit_s=0.5)):
            await World(client, engine, store).start({"one": {"argo": {"manifest": "one.yaml"}}})
            await engine.begun.wait()
        assert "a worker does not stop within 0.6 s" in caplog.text
        left = workers()
        assert len(left) == 1, "the one for waits has stopped"
        engine.released.set()
        await asyncio.wait(left)
    await engine.close()


async def test_workers_that_stop_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    engine, store = StubbornEngine(), MemoryStore()
    activities = activities_of(engine, store)
    async with temporal_server() as client, asyncio.timeout(60):
        await register_search_attributes(client)
        async with run_workers(client, activities, Sizes(shutdown_grace_s=0.1)):
            await World(client, engine, store).start({"one": {"argo": {"manifest": "one.yaml"}}})
            await engine.begun.wait()
            asyncio.get_running_loop().call_later(0.5, engine.released.set)
        assert engine.released.is_set()
        assert (workers(), "does not stop" in caplog.text) == ([], False)
    await engine.close()
