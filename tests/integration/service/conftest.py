from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.integration.service.servers import NatsServer, Rig, nats_server
from tests.integration.service.servers import rig as make_rig
from tests.support.temporal import temporal_server


@pytest.fixture
async def temporal() -> AsyncGenerator[Client]:
    async with temporal_server() as client:
        yield client


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path) -> AsyncGenerator[Rig]:
    """The service and workers, without NATS."""
    async with make_rig(temporal, tmp_path) as made:
        await made.work()
        yield made


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncGenerator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server
