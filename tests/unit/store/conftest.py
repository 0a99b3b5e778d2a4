from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meta.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as opened:
        yield opened
