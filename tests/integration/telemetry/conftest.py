from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meta.store import Store
from tests.support.otlp import GrpcCollector, grpc_collector


@pytest.fixture
async def collector() -> AsyncGenerator[GrpcCollector]:
    async with grpc_collector() as made:
        yield made
        assert not made.faults, made.faults


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", sinks=("otlp",)) as opened:
        yield opened
