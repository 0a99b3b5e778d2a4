"""The worker process: `python -m meta.worker --config FILE`. SIGTERM stops it and cancels nothing."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from meta.config import MetaConfig, find_config, load_config
from meta.store import Store
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.registry import build_engines
from workers.runtime import Sizes, connect, register_search_attributes, run_workers

log = logging.getLogger("meta.worker")


async def serve(config: MetaConfig, stop: asyncio.Event) -> None:
    """Work until `stop` is set.

    Raises:
        SettingsInvalid: an engine's settings are wrong.
    """
    client = await connect(config.temporal.address, config.temporal.namespace)
    await register_search_attributes(client)
    store = await Store.open(config.store.url)
    objects = ArtifactStore(config.objects)
    engines = build_engines(config.engines, objects)
    sizes = Sizes(config.worker.wait_slots, config.worker.activity_slots, config.worker.shutdown_grace)
    activities = Activities(engines=engines, objects=objects, bundles=store, recorder=store)
    try:
        async with run_workers(client, activities, sizes):
            log.info("working for %s, engines: %s", config.temporal.address, ", ".join(engines) or "none")
            await stop.wait()
            log.info("stopping; engine runs go on")
    finally:
        for engine in engines.values():
            await engine.close()
        await store.close()


async def _main(config: MetaConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await serve(config, stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m meta.worker", description="Runs meta-runs' steps.")
    parser.add_argument("--config", type=Path, help="meta.toml; by default looked up as the meta command does")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_main(load_config(find_config(args.config))))


if __name__ == "__main__":
    main()
