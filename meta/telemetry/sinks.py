"""Who is to hear of runs, by the configuration."""

from __future__ import annotations

from meta.config import TelemetryConfig

OTLP = "otlp"
"""Sink of traces."""


LINEAGE = "openlineage"
"""Sink of OpenLineage events."""


def sinks_of(telemetry: TelemetryConfig) -> tuple[str, ...]:
    """Names of the sinks that are switched on; each is told by a job of the service."""
    wanted = {OTLP: telemetry.otlp_endpoint, LINEAGE: telemetry.lineage.url}
    return tuple(sink for sink, address in wanted.items() if address)
