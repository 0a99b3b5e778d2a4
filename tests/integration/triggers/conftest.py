from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from tests.integration.triggers.support import listening


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    """The service with NATS, listening. Tests that wait for the end of a run start workers: `await rig.work()`."""
    async with make_rig(temporal, tmp_path, nats.url) as made:
        await listening(made)
        yield made
