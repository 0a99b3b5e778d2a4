"""Runs as the store is told of them, and the exporter that tells a collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from meta.config import TelemetryConfig
from meta.server_process import end_task
from meta.store import Store
from meta.telemetry.exporter import Pace, TraceExporter
from tests.support.otlp import Collector
from tests.unit.store.test_store import AT, DEFINITION, REF, snapshot
from workflows.naming import RunKey
from workflows.outcome import Node, Outcome, RunState, StepState
from workflows.trace import span_id, trace_id

PACE = Pace(linger=0.02, poll=0.05, claim=1.0, first_pause=0.05, longest_pause=0.1, denied=0.2, refused=0.5)


@asynccontextmanager
async def exporting(
    store: Store, collector: Collector, pace: Pace = PACE, **settings: object
) -> AsyncGenerator[TraceExporter]:
    telemetry = TelemetryConfig.model_validate({"otlp_endpoint": collector.endpoint, **settings})
    exporter = TraceExporter(telemetry, store, pace)
    task = asyncio.create_task(exporter.run())
    try:
        yield exporter
    finally:
        await end_task(task)
        await exporter.close()


async def begin(store: Store, run_id: str, trace: dict[str, str] | None = None) -> None:
    await store.runs.create(snapshot(run_id, trace=trace or {}), "i", DEFINITION)


async def end(store: Store, run_id: str, trace: dict[str, str] | None = None) -> None:
    """`prepare` succeeds, and `train` is skipped."""
    key = RunKey(meta_run=run_id, step="prepare", attempt=1)
    await store.attempt_submitted("chain", key, REF, AT)
    node = Node(id="n1", name="main", type="Pod", phase="Succeeded", started_at=AT, finished_at=AT)
    await store.attempt_ended("chain", key, REF, Outcome(nodes=[node], started_at=AT, finished_at=AT), AT)
    run = snapshot(run_id, trace=trace or {})
    steps = [
        run.steps[0].model_copy(update={
            "state": StepState.SUCCEEDED, "attempt": 1, "run": REF, "started_at": AT, "finished_at": AT
        }),
        run.steps[1].model_copy(update={"state": StepState.SKIPPED}),
    ]  # fmt: skip
    await store.snapshot(run.model_copy(update={"state": RunState.SUCCEEDED, "finished_at": AT, "steps": steps}))


def has(collector: Collector, run_id: str, *path: str) -> Callable[[], bool]:
    wanted = span_id(run_id, *path)
    return lambda: any(span.span_id == wanted for span in collector.trace(trace_id(run_id, {})))


async def forgotten(store: Store) -> None:
    """Wait until all is told of every run."""
    async with asyncio.timeout(30):
        while await store.exports.open("otlp"):
            await asyncio.sleep(0.02)
