"""Writes down what a worker's circuits do, for the service and `meta doctor`, which are other processes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

from workers.engines.base import Engine
from workers.ports import CircuitRecorder, EngineLoad
from workflows.errors import MetaError

log = logging.getLogger(__name__)

LOOK, WRITE = 1.0, 30.0
"""Seconds between two looks at the circuits, and at most between two writings; a change is written at once."""


def worker_name() -> str:
    """Host and process id: what tells this worker from others."""
    return f"{socket.gethostname()}/{os.getpid()}"


async def report_circuits(engines: Mapping[str, Engine], recorder: CircuitRecorder, worker: str) -> None:
    """Write on every change and now and then, until cancelled."""
    loop = asyncio.get_running_loop()
    told: dict[str, str] = {}
    told_at = float("-inf")
    while True:
        states = {name: engine.circuit.state.value for name, engine in engines.items()}
        if states != told or loop.time() - told_at >= WRITE:
            loads = {name: EngineLoad(engine.circuit, engine.awaited_runs) for name, engine in engines.items()}
            try:
                await recorder.record_circuits(worker, loads)
                told, told_at = states, loop.time()
            except MetaError as error:
                log.warning("the engines' circuits cannot be written down: %s", error.message)
        await asyncio.sleep(LOOK)
