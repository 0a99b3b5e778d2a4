"""The service process: `python -m meta.service --config FILE`. gRPC for clients, NATS for messages."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn, Self

from meta.api.engines import Engines
from meta.api.feed import RunFeed
from meta.api.reconcile import Reconciler
from meta.api.server import ApiServer
from meta.api.servicer import MetaServicer
from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.config import MetaConfig, find_config, load_config
from meta.store import Store
from meta.triggers.nats import NatsTriggers
from workflows.errors import MetaError, ServiceUnavailable

log = logging.getLogger("meta.service")

STOP_GRACE_S = 5.0
RETRY_S = 2.0


class Service:
    """All that one service process runs; `async with Service(config) as service` serves until the block ends.

    It starts without Temporal, NATS or engines and answers for each what is missing; only the store is waited for.

    Attributes:
        address: host:port of gRPC, with the real port when the configuration says 0.
        triggers: None when no NATS is configured.
    """

    def __init__(self, config: MetaConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self.address = ""
        self.store: Store
        self.triggers: NatsTriggers | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            config = self._config
            self.store = await stack.enter_async_context(await open_store(config.store.url))
            temporal = await TemporalRuns.open(
                config.temporal.address, config.temporal.namespace, config.temporal.ui_url
            )
            feed = RunFeed(self.store)
            engines = Engines(config)
            stack.push_async_callback(engines.close)
            starter = Starter(self.store, temporal)
            self._background(stack, "feed", feed.run)
            self._background(stack, "reconciler", Reconciler(self.store, temporal, feed).run)
            if config.nats.url:
                self.triggers = NatsTriggers(config.nats, starter, self.store)
                self._background(stack, "triggers", self.triggers.run)
            server = ApiServer(MetaServicer(self.store, temporal, starter=starter, feed=feed, engines=engines))
            self.address = await server.start(config.grpc.address)
            stack.push_async_callback(server.stop, STOP_GRACE_S)
            stack.push_async_callback(feed.close)  # first of all: watchers would hold the server up
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _background(self, stack: AsyncExitStack, name: str, job: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(_forever(name, job), name=name)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(stop)


async def _forever(name: str, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception:  # one job's fault must not take down what the others serve; the log has it
            log.exception("the %s failed; starting it again", name)
        await asyncio.sleep(RETRY_S)


async def open_store(url: str) -> Store:
    """Open the store, waiting for its database as long as it takes."""
    while True:
        try:
            return await Store.open(url)
        except ServiceUnavailable as error:
            log.warning("%s; trying again", error)
        await asyncio.sleep(RETRY_S)


async def serve(config: MetaConfig, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        PortTaken: of grpc.address.
    """
    async with Service(config) as service:
        log.info("serving gRPC on %s", service.address)
        await stop.wait()
        log.info("stopping; runs go on")


async def _main(config: MetaConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await serve(config, stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m meta.service", description="Serves the API and the triggers.")
    parser.add_argument("--config", type=Path, help="meta.toml; by default looked up as the meta command does")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(_main(load_config(find_config(args.config))))
    except MetaError as error:
        log.error("%s", error)
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """Leave without the interpreter's own end, which crashes now and then with temporalio loaded (sdk-python 300)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
