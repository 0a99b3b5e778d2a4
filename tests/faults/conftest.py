from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
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
