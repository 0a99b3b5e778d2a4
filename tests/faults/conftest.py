from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
from tests.faults.triggers import Ground, ground
from tests.support.chain import Chain, environments_folder

RunningChain = Callable[[], AbstractAsyncContextManager[tuple[EmbeddedStack, Chain]]]


@pytest.fixture
def running_chain(tmp_path: Path) -> RunningChain:
    """A whole stack of the test's own."""

    @asynccontextmanager
    async def start() -> AsyncGenerator[tuple[EmbeddedStack, Chain]]:
        options = StackOptions(data_dir=tmp_path / "stack", environments=environments_folder())
        async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc, patience_s=60) as client:
            yield stack, Chain(client, stack.addresses)

    return start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Ground]:
    """One ground for the tests of a file, which use names of their own; with one service, the first."""
    async with ground(tmp_path_factory.mktemp("ground")) as made:
        await made.add_service()
        yield made
