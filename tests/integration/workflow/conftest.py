from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.world import World
from tests.support.world import world as make_world


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    async with make_world() as w:
        yield w
