from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.integration.service.servers import Rig
from tests.integration.service.servers import rig as make_rig


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path) -> AsyncGenerator[Rig]:
    """The service and workers, without NATS."""
    async with make_rig(temporal, tmp_path) as made:
        await made.work()
        yield made
