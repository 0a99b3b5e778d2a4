"""Who is to hear of runs, by the configuration."""

from __future__ import annotations

from meta.config import TelemetryConfig

OTLP = "otlp"
"""Sink of traces."""


def sinks_of(telemetry: TelemetryConfig) -> tuple[str, ...]:
    """Names of the sinks that are switched on; each is told by a job of the service."""
    return (OTLP,) if telemetry.otlp_endpoint else ()
