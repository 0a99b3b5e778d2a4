from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from meta.bridge.bridge import Bridge
from meta.config import BridgeConfig, BridgedPipeline, TriggersConfig
from meta.service import Service
from tests.integration.bridge.client import BridgeClient, bridge_client
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from workflows.messages import RunSnapshot

BRIDGE = BridgeConfig(
    pipelines={
        "training": BridgedPipeline(workflow="chain"),
        "kf-training": BridgedPipeline(workflow="chain", engine="kubeflow", inputs={"rate": "learningRate"}),
        "not-there": BridgedPipeline(workflow="missing"),
    },
)


@asynccontextmanager
async def bridged_rig(
    temporal: Client, folder: Path, nats: NatsServer, bridge: BridgeConfig = BRIDGE
) -> AsyncGenerator[Rig]:
    """The service with a bridge and the chain published; nobody works on the runs yet."""
    async with make_rig(temporal, folder, nats.url, TriggersConfig(bridge=bridge)) as made:
        async with made.client() as client:
            await client.publish(made.chain())
        await ready(made.service)
        yield made


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    async with bridged_rig(temporal, tmp_path, nats) as made:
        yield made


@pytest.fixture
async def client(nats: NatsServer) -> AsyncGenerator[BridgeClient]:
    async with bridge_client(nats.url) as made:
        yield made


def bridge_of(service: Service) -> Bridge:
    assert service.bridge is not None
    return service.bridge


async def ready(service: Service) -> Bridge:
    """Wait until requests are received, and kept where they are to be."""
    bridge = bridge_of(service)
    async with asyncio.timeout(15):
        await bridge.ready.wait()

    async def keeps() -> bool:
        return bridge.catch_up.keeps or not bridge.config.catch_up

    await eventually(keeps)
    return bridge


async def run_of(rig: Rig, run_id: str) -> RunSnapshot:
    """A run, as soon as it is written down: its requester hears of it before."""

    async def there() -> bool:
        return run_id in await rig.store.runs.get_many([run_id])

    await eventually(there)
    return await rig.store.runs.get(run_id)


async def runs(rig: Rig) -> list[str]:
    async with rig.client() as client:
        return [run.id for run in (await client.list(size=500)).runs]


async def eventually(probe: Callable[[], Awaitable[bool]], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not await probe():
            await asyncio.sleep(0.02)
