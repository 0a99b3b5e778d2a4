"""How our own server processes start and end: options, logging, signals, exit."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from meta.config import MetaConfig, find_config, load_config
from meta.store import Store
from meta.telemetry.logs import forward_core_logs, setup_logs
from meta.telemetry.secrets import secrets_of
from meta.telemetry.sinks import sinks_of
from workflows.errors import MetaError, ServiceUnavailable

log = logging.getLogger("meta")

RETRY_S = 2.0


def run_server(name: str, description: str, serve: Callable[[MetaConfig, asyncio.Event], Awaitable[None]]) -> NoReturn:
    """Be the process `python -m meta.<name> --config FILE` until SIGTERM or SIGINT.

    Args:
        name: the module's, for the usage line.
        description: one sentence for --help.
        serve: works until the event it is given is set.
    """
    parser = argparse.ArgumentParser(prog=f"python -m meta.{name}", description=description)
    parser.add_argument("--config", type=Path, help="meta.toml; by default looked up as the meta command does")
    arguments = parser.parse_args()
    setup_logs()  # until the configuration says how
    try:
        config = load_config(find_config(arguments.config))
        setup_logs(config.telemetry.logs, secrets_of(config))
        forward_core_logs()
        asyncio.run(_until_signal(serve, config))
    except MetaError as error:
        log.error("%s", error)
        leave(1)
    except Exception:
        log.critical("the process ends by what nobody foresaw", exc_info=True)
        leave(1)
    leave(0)


def leave(code: int) -> NoReturn:
    """Leave without the interpreter's own end, which crashes now and then with temporalio loaded (sdk-python 300)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: asyncio.wait_for can swallow a first cancel (cpython 86296)."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)


async def open_store(config: MetaConfig) -> Store:
    """Open the store, waiting for its database as long as it takes."""
    sinks = sinks_of(config.telemetry)
    while True:
        try:
            return await Store.open(
                config.store.url, outgoing=bool(config.nats.url), sampling=config.telemetry.sampling, sinks=sinks
            )
        except ServiceUnavailable as error:
            log.warning("%s; trying again", error)
        await asyncio.sleep(RETRY_S)


async def _until_signal(serve: Callable[[MetaConfig, asyncio.Event], Awaitable[None]], config: MetaConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await serve(config, stop)
