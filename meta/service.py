"""The service process: `python -m meta.service --config FILE`. gRPC for clients, NATS for messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Self

from temporalio.runtime import Runtime

from meta.api.engines import Engines
from meta.api.feed import RunFeed
from meta.api.orphans import OrphanFinder
from meta.api.reconcile import Reconciler
from meta.api.retrying import Retrier
from meta.api.server import ApiServer
from meta.api.servicer import MetaServicer
from meta.api.starter import Starter
from meta.api.sweep import Pace, Sweeper
from meta.api.temporal import TemporalRuns
from meta.bridge.bridge import Bridge
from meta.bridge.desk import SOURCE
from meta.bridge.reading import reading
from meta.config import MetaConfig
from meta.events.publisher import Publisher
from meta.nats_login import check_files
from meta.schedules.runtime import Schedules
from meta.server_process import RETRY_S, end_task, open_store, run_server
from meta.store import Store
from meta.telemetry.gauges import Gauges
from meta.telemetry.metrics import measured
from meta.triggers.intake import Intake
from meta.triggers.replay import Replayer
from meta.triggers.runtime import NatsTriggers

log = logging.getLogger("meta.service")

STOP_GRACE_S = 5.0


class Service:
    """All that one service process runs; `async with Service(config) as service` serves until the block ends.

    Args:
        config: of the service.
        sweep: how often engine runs that nobody waits for are looked for.
        runtime: of Temporal's SDK, where metrics are wanted.

    It starts without Temporal, NATS or engines and answers for each what is missing; only the store is waited for.

    Attributes:
        address: host:port of gRPC, with the real port when the configuration says 0.
        temporal: its Temporal.
        schedules: those of published definitions.
        triggers: None when no NATS is configured.
        bridge: None when none is configured.
    """

    def __init__(self, config: MetaConfig, *, sweep: Pace | None = None, runtime: Runtime | None = None) -> None:
        self._config = config
        self._sweep = sweep or Pace()
        self._runtime = runtime
        self._stack = AsyncExitStack()
        self.address = ""
        self.store: Store
        self.temporal: TemporalRuns
        self.schedules: Schedules
        self.triggers: NatsTriggers | None = None
        self.bridge: Bridge | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            config = self._config
            self.store = await stack.enter_async_context(await open_store(config))
            temporal = await TemporalRuns.open(
                config.temporal.address, config.temporal.namespace, config.temporal.ui_url, self._runtime
            )
            if config.telemetry.otlp_endpoint:
                from meta.telemetry.exporter import TraceExporter  # with what it needs, where traces are exported

                exporter = TraceExporter(config.telemetry, self.store)
                stack.push_async_callback(exporter.close)
                self._background(stack, "exporter of traces", exporter.run)
                stack.push_async_callback(exporter.drain)
            feed = RunFeed(self.store)
            engines = Engines(config)
            stack.push_async_callback(engines.close)
            starter = Starter(self.store, temporal, config.routing)
            self._background(stack, "feed", feed.run)
            finder = OrphanFinder(self.store, temporal, engines)
            sweeper = Sweeper(self.store, engines, finder, self._sweep)
            reconciler = Reconciler(self.store, temporal, feed, gone=sweeper.nudge, adopt=starter.adopt)
            self._background(stack, "reconciler", reconciler.run)
            if config.engines:
                self._background(stack, "sweeper", sweeper.run)
            if config.telemetry.lineage.url:
                from meta.lineage.exporter import LineageExporter

                self._background(stack, "lineage", LineageExporter(config.telemetry.lineage, self.store).run)
            self.temporal = temporal
            self.schedules = schedules = Schedules(self.store, temporal)
            self._background(stack, "schedules", schedules.run)
            if config.telemetry.metrics.wanted("service"):
                self._background(stack, "gauges", self._gauges().run)
            if config.nats.url:
                check_files(config.nats)
                self.triggers = NatsTriggers(config.nats, starter, self.store)
                self._background(stack, "triggers", self.triggers.run)
                self._background(stack, "publisher", Publisher(config.nats, self.store).run)
            if config.triggers.bridge is not None:
                self.bridge = Bridge(config.triggers.bridge, config.nats, Intake(starter, self.store), self.store)
                self._background(stack, "bridge", self.bridge.run)
                stack.push_async_callback(self.bridge.drain)
            replayer = Replayer(
                starter, self.store, max_event=config.nats.max_event,
                readings={SOURCE: reading(self.bridge.desk)} if self.bridge is not None else {},
            )  # fmt: skip
            retrier = Retrier(self.store, starter, engines)
            servicer = MetaServicer(
                self.store, temporal, starter=starter, feed=feed, engines=engines, orphans=finder, replayer=replayer,
                retrier=retrier, nats=bool(config.nats.url), telemetry=config.telemetry,
                schedules=schedules, published=self._published(schedules),
            )  # fmt: skip
            server = ApiServer(servicer)
            self.address = await server.start(config.grpc.address)
            stack.push_async_callback(server.stop, STOP_GRACE_S)
            stack.push_async_callback(replayer.close)
            stack.push_async_callback(feed.close)  # first of all: watchers would hold the server up
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _published(self, schedules: Schedules) -> Callable[[], None]:
        """What is called when what is published has changed."""

        def tell() -> None:
            schedules.nudge()
            if self.triggers is not None:
                self.triggers.nudge()

        return tell

    def _gauges(self) -> Gauges:
        return Gauges(self.store, nats=bool(self._config.nats.url), every=self._config.telemetry.metrics.interval)

    def _background(self, stack: AsyncExitStack, name: str, job: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(_forever(name, job), name=name)

        async def stop() -> None:
            await end_task(task)

        stack.push_async_callback(stop)


async def _forever(name: str, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception:  # one job's fault must not take down what the others serve; the log has it
            log.exception("the %s failed; starting it again", name)
        await asyncio.sleep(RETRY_S)


async def serve(config: MetaConfig, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        PortTaken: of grpc.address, or of telemetry.metrics.service.
    """
    async with measured(config.telemetry, "service") as runtime, Service(config, runtime=runtime) as service:
        log.info("serving gRPC on %s", service.address)
        await stop.wait()
        log.info("stopping; runs go on")


if __name__ == "__main__":
    run_server("service", "Serves the API and the triggers.", serve)
