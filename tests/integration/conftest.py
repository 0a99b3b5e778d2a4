"""Real servers of a test's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from temporalio.client import Client

from tests.integration.service.servers import NatsServer, nats_server
from tests.support.temporal import temporal_server


@pytest.fixture
async def temporal() -> AsyncGenerator[Client]:
    async with temporal_server() as client:
        yield client


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncGenerator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def js(nats: NatsServer) -> AsyncGenerator[JetStreamContext]:
    connection = await nats_client.connect(nats.url)
    yield connection.jetstream()
    await connection.close()
