"""What Temporal's SDK counts, as instruments of OpenTelemetry.

The SDK's core counts in Rust. It can serve Prometheus or send OTLP itself, at a port and in a stream of its own; by
way of its buffer (`temporalio.runtime.MetricBuffer`) its numbers come out where ours do. Counters come as differences,
gauges and the values of histograms as they are; durations are asked for in seconds (`temporal_*_latency`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from opentelemetry.metrics import MeterProvider
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BufferedMetric,
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
)

from meta.telemetry.logs import core_logging

log = logging.getLogger(__name__)

Attributes: TypeAlias = Mapping[str, str | bool | int | float]

_EVERY_S = 1.0
_SIZE = 50_000  # updates; an activity makes about ten, and what comes beyond is dropped with a word in the log
_KEPT = frozenset(
    {
        "activity_type",
        "cause",
        "eager",
        "failure_reason",
        "namespace",
        "nexus_service",
        "nexus_operation",
        "operation",
        "poller_type",
        "status_code",
        "task_queue",
        "worker_type",
        "workflow_type",
    }
)
"""Attributes that come along: each has a few values, by names in the code. `service_name` is the resource's."""

_BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400]


class SdkMetrics:
    """Carries the numbers over, from `start` to `close`.

    Attributes:
        runtime: to make Temporal's clients with.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter("temporalio")
        self._buffer = MetricBuffer(_SIZE, MetricBufferDurationFormat.SECONDS)
        self._into: dict[str, Callable[[float, Attributes], None]] = {}
        self._task: asyncio.Task[None] | None = None
        self.runtime = Runtime(telemetry=TelemetryConfig(logging=core_logging(), metrics=self._buffer))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="temporal-metrics")

    async def close(self) -> None:
        """Carry over what there is, and end."""
        if self._task is not None:
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=1.0)
        self.carry()

    def carry(self) -> None:
        """Take what has come since the last time."""
        for update in self._buffer.retrieve_updates():
            self._take(update)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                self.carry()
            except Exception:  # numbers must not take down what they are about
                log.exception("what Temporal's SDK counted since the last time is lost")

    def _take(self, update: BufferedMetricUpdate) -> None:
        name = update.metric.name
        if (into := self._into.get(name)) is None:
            into = self._into[name] = self._instrument(update.metric)
        into(update.value, {key: value for key, value in update.attributes.items() if key in _KEPT})

    def _instrument(self, metric: BufferedMetric) -> Callable[[float, Attributes], None]:
        name, unit, description = metric.name, metric.unit or "", metric.description or ""
        if metric.kind == BUFFERED_METRIC_KIND_COUNTER:
            return self._meter.create_counter(name, unit, description).add
        if metric.kind == BUFFERED_METRIC_KIND_GAUGE:
            return self._meter.create_gauge(name, unit, description).set
        return self._meter.create_histogram(
            name, unit, description, explicit_bucket_boundaries_advisory=_BOUNDARIES
        ).record
