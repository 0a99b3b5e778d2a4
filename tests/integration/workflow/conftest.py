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
async def module_world() -> AsyncGenerator[World]:
    async with make_world() as w:
        yield w


@pytest.fixture
def shared(module_world: World) -> World:
    """One world for all tests of a module, with an engine that knows nothing of the test before."""
    module_world.engine.forget()
    return module_world
