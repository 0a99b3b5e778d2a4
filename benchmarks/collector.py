"""A collector of traces, and an exporter, as processes: `python -m benchmarks.collector [STORE ENDPOINT]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from meta.config import TelemetryConfig
from meta.processes import spawn
from meta.store import Store
from meta.telemetry.exporter import TraceExporter
from meta.telemetry.sinks import OTLP
from tests.support.otlp import grpc_collector


@asynccontextmanager
async def exporting(store_url: str) -> AsyncGenerator[None]:
    """Start both; traces of what is due in the store are exported when this yields."""
    async with _process() as endpoint, _process(store_url, endpoint):
        yield


@asynccontextmanager
async def _process(*arguments: str) -> AsyncGenerator[str]:
    """Start one; yields the line that it says when it is ready."""
    process = await spawn([sys.executable, "-m", "benchmarks.collector", *arguments], stdout=asyncio.subprocess.PIPE)
    try:
        assert process.process.stdout is not None
        yield (await process.process.stdout.readline()).decode().strip()
    finally:
        await process.stop(5.0)


async def collect() -> None:
    async with grpc_collector() as collector:
        print(collector.endpoint, flush=True)
        await asyncio.Event().wait()


async def export(store_url: str, endpoint: str) -> None:
    async with await Store.open(store_url, sinks=(OTLP,)) as store:
        print("exports", flush=True)
        await TraceExporter(TelemetryConfig(otlp_endpoint=endpoint), store).run()


if __name__ == "__main__":
    asyncio.run(export(*sys.argv[1:]) if sys.argv[1:] else collect())
