"""Limits of an engine over meta-runs and workers: real Temporal, a real store, the engine's stub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHandle

from meta.store import Store
from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import ARGO_MANIFEST
from tests.stubs.argo import ArgoStub
from tests.support.temporal import temporal_server
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.json_view import text
from workers.engines.registry import build_engines
from workers.limits import SubmitLimits, limits_of
from workers.runtime import Sizes, connect, register_search_attributes, run_workers
from workers.settings import ArgoSettings, StoreSettings
from workflows.bundle import Bundle
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, RunSnapshot, StartRun
from workflows.naming import ANNOTATION_KEY
from workflows.outcome import StepState
from workflows.spec.models import MetaWorkflow


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with temporal_server() as client:
        await register_search_attributes(client)
        yield client


async def work(stack: AsyncExitStack, client: Client, settings: ArgoSettings, url: str) -> Store:
    """One worker with engines and a store's connection of its own, until the stack ends."""
    store = await stack.enter_async_context(await Store.open(url))
    objects = ArtifactStore(StoreSettings())
    engines = build_engines({"argo": settings}, objects)
    limits = SubmitLimits(limits_of({"argo": settings}), store.slots)
    activities = Activities(engines=engines, objects=objects, bundles=store, recorder=store, limits=limits)
    stack.push_async_callback(engines["argo"].close)
    own = await connect(client.service_client.config.target_host, client.namespace)  # as a process of its own has
    await stack.enter_async_context(run_workers(own, activities, Sizes(shutdown_grace_s=0.1)))
    return store


async def start(client: Client, store: Store, count: int) -> list[WorkflowHandle[object, RunSnapshot]]:
    document = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "chain"}}
    steps = {"steps": {"train": {"argo": {"manifest": "m.yaml"}}}}
    definition = MetaWorkflow.model_validate({**document, **steps})
    bundle = Bundle(definition=definition, files={"m.yaml": ARGO_MANIFEST})
    await store.bundles.put(bundle)
    message = StartRun(definition=definition, bundle_digest=bundle.digest)
    return [
        await client.start_workflow(
            WORKFLOW_TYPE, message, id=f"chain-{n}", task_queue=TASK_QUEUE, result_type=RunSnapshot
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("workers", [1, 2])
async def test_never_more_runs_than_the_limit_are_under_way_and_all_finish(
    client: Client, tmp_path: Path, workers: int
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with ArgoStub(duration=0.3) as stub, AsyncExitStack() as stack:
        settings = ArgoSettings(url=stub.url, max_concurrent_runs=3)
        stores = [await work(stack, client, settings, url) for _ in range(workers)]
        handles = await start(client, stores[0], 10)
        runs = await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), 90)
        assert all(run.steps[0].state is StepState.SUCCEEDED for run in runs)
        assert {run.steps[0].attempt for run in runs} == {1}
        assert stub.requests["create"] == 10
        assert 1 < stub.peak <= 3
        assert await stores[0].slots.taken("argo") == 0


async def test_who_waits_for_a_slot_is_told_so_and_a_cancelled_run_gives_its_slot_back(
    client: Client, tmp_path: Path
) -> None:
    async with ArgoStub(duration=None) as stub, AsyncExitStack() as stack:
        settings = ArgoSettings(url=stub.url, max_concurrent_runs=1, settle_delay=0.3)
        store = await work(stack, client, settings, f"sqlite+aiosqlite:///{tmp_path}/store.db")
        first, second = await start(client, store, 2)
        await eventually(lambda: len(stub.workflows) == 1, "one is submitted", timeout=30)
        told = ""
        deadline = time.monotonic() + 30
        while "waiting for a slot" not in told and time.monotonic() < deadline:
            for handle in (first, second):
                for pending in (await handle.describe()).raw_description.pending_activities:
                    told = told or pending.last_failure.message
            await asyncio.sleep(0.05)
        assert "1 of 1 runs of engine argo are under way; waiting for a slot" in told
        (name,) = stub.workflows
        owner = text(stub.workflows[name], "metadata", "annotations", ANNOTATION_KEY)
        has_it = first if owner.startswith(f"{first.id}/") else second
        waits = second if has_it is first else first
        await has_it.cancel()
        await eventually(lambda: len(stub.workflows) == 2, "the other is submitted", timeout=30)
        stub.duration = 0.0
        (other,) = set(stub.workflows) - {name}
        stub.finish(other)
        assert (await asyncio.wait_for(waits.result(), 30)).steps[0].state is StepState.SUCCEEDED
        assert stub.peak == 1


async def test_a_refused_run_gives_its_slot_back(client: Client, tmp_path: Path) -> None:
    async with ArgoStub(duration=0.0) as stub, AsyncExitStack() as stack:
        settings = ArgoSettings(url=stub.url, namespace="forbidden", max_concurrent_runs=1)
        store = await work(stack, client, settings, f"sqlite+aiosqlite:///{tmp_path}/store.db")
        for handle in await start(client, store, 3):
            with pytest.raises(Exception, match="Workflow execution failed"):
                await asyncio.wait_for(handle.result(), 60)
        assert await store.slots.taken("argo") == 0


async def test_a_rate_spaces_the_submits(client: Client, tmp_path: Path) -> None:
    async with ArgoStub(duration=0.0) as stub, AsyncExitStack() as stack:
        settings = ArgoSettings(url=stub.url, submit_rate=2.0)
        store = await work(stack, client, settings, f"sqlite+aiosqlite:///{tmp_path}/store.db")
        began = time.monotonic()
        handles = await start(client, store, 5)
        await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), 60)
        assert time.monotonic() - began >= 2.0
        assert stub.requests["create"] == 5
