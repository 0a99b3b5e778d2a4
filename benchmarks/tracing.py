"""What traces cost a run: the same chain with a collector and without one, turn by turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from benchmarks.collector import exporting
from meta.store import Store
from meta.telemetry.sinks import OTLP
from workflows.bundle import Bundle
from workflows.messages import RunSnapshot, StepSnapshot


async def measure_tracing(
    store: Store, bundle: Bundle, chain: Callable[[str], Awaitable[None]], runs: int, warm_up: int
) -> dict[str, float]:
    """Run chains whose changes are exported as traces, and chains whose changes are not.

    The exporter is a process of its own, as the service is, and so is the collector.

    Args:
        store: which the workers write to, opened with the sink of traces.
        bundle: of the chain.
        chain: executes the chain under an id.
        runs: how many of each are measured.
        warm_up: how many of each come before.

    Returns:
        Seconds: p50 of each; and the ratio of the p50s.
    """
    exports, times = store.exports, {True: list[float](), False: list[float]()}
    async with exporting(store.database.engine.url.render_as_string()):
        for turn in range(warm_up + runs):
            for on in (turn % 2 == 0, turn % 2 == 1):
                exports.sinks = (OTLP,) if on else ()
                run_id = f"traced-{turn}-{on}"
                began = time.perf_counter()
                await store.runs.create(_requested(run_id, bundle), "", bundle.definition)  # as the service does
                await chain(run_id)
                if turn >= warm_up:
                    times[on].append(time.perf_counter() - began)
                async with asyncio.timeout(60):
                    while await exports.open(OTLP):
                        await asyncio.sleep(0.01)
    on, off = statistics.median(times[True]), statistics.median(times[False])
    return {"traced_p50_s": on, "untraced_p50_s": off, "tracing_ratio": on / off}


def _requested(run_id: str, bundle: Bundle) -> RunSnapshot:
    steps = [
        StepSnapshot(name=name, kind=step.kind, engine=step.engine) for name, step in bundle.definition.steps.items()
    ]
    return RunSnapshot(
        id=run_id,
        workflow=bundle.definition.name,
        bundle_digest=bundle.digest,
        steps=steps,
        started_at=datetime.now(UTC),
    )
