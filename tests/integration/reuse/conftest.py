from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.files import FileStore
from tests.support.world import World
from tests.support.world import world as make_world


@pytest.fixture
def lake(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "lake")


@pytest.fixture
async def world(lake: FileStore) -> AsyncGenerator[World]:
    async with make_world(objects=lake.open()) as w:
        yield w
