"""What the code under test counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


@cache
def shared_reader() -> InMemoryMetricReader:
    """The reader of this process: it has one provider, and takes none after the first."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


def points(reader: InMemoryMetricReader) -> Iterator[tuple[str, Mapping[str, object], float]]:
    """Each instrument with its attributes and its value, of a histogram how many values it has."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = getattr(point, "value", None) or getattr(point, "count", 0)
                    yield metric.name, dict(point.attributes or {}), value
