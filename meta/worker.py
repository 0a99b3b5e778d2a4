"""The worker process: `python -m meta.worker --config FILE`. SIGTERM stops it and cancels nothing."""

from __future__ import annotations

import asyncio
import logging

from temporalio.runtime import Runtime

from meta.config import MetaConfig
from meta.server_process import end_task, open_store, run_server
from meta.telemetry.metrics import measured
from meta.triggers.awaited import NatsEvents
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.circuit_report import report_circuits, worker_name
from workers.engines.registry import build_engines
from workers.limits import SubmitLimits, limits_of
from workers.runtime import Sizes, connect, register_search_attributes, run_workers

log = logging.getLogger("meta.worker")


async def serve(config: MetaConfig, stop: asyncio.Event) -> None:
    """Work until `stop` is set.

    Raises:
        SettingsInvalid: an engine's settings are wrong.
        PortTaken: of telemetry.metrics.worker.
    """
    async with measured(config.telemetry, "worker") as runtime:
        await _work(config, stop, runtime)


async def _work(config: MetaConfig, stop: asyncio.Event, runtime: Runtime | None) -> None:
    client = await connect(config.temporal.address, config.temporal.namespace, runtime)
    await register_search_attributes(client)
    store = await open_store(config)
    objects = ArtifactStore(config.objects, config.stores, config.engines)
    engines = build_engines(config.engines, objects, store)
    sizes = Sizes(config.worker.wait_slots, config.worker.activity_slots, config.worker.shutdown_grace)
    limits = SubmitLimits(limits_of(config.engines), store.slots)
    events = NatsEvents(config.nats) if config.nats.url else None
    activities = Activities(
        engines=engines,
        objects=objects,
        bundles=store,
        recorder=store,
        limits=limits,
        sampling=config.telemetry.sampling,
        events=events,
        use_cases=config.routing,
    )
    reporter = asyncio.create_task(report_circuits(engines, store, worker_name()), name="circuits")
    try:
        async with run_workers(client, activities, sizes):
            log.info("working for %s, engines: %s", config.temporal.address, ", ".join(engines) or "none")
            await stop.wait()
            log.info("stopping; engine runs go on")
    finally:
        await end_task(reporter)
        if events is not None:
            await events.close()
        for engine in engines.values():
            await engine.close()
        objects.close()
        await store.close()


if __name__ == "__main__":
    run_server("worker", "Runs the steps of meta-runs.", serve)
