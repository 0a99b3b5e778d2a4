from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.support.world import World
from tests.support.world import world as make_world


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    async with make_world() as w:
        yield w


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world() -> AsyncGenerator[World]:
    """One for all tests of a file, which end their runs and call `engine.forget` before they begin."""
    async with make_world() as w:
        yield w
