"""Where a process's metrics go: a Prometheus endpoint of its own, and a collector by OTLP.

Both have the same: what this project counts, through OpenTelemetry's metrics API, and what Temporal's SDK counts
(`meta.telemetry.temporal`). Prometheus has the Python process besides (`process_*`, `python_info`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector, start_http_server
from temporalio.runtime import Runtime

from meta.config import TelemetryConfig
from meta.telemetry.collector import (
    TrustingSession,
    certificates_of,
    credentials_of,
    grpc_compression,
    headers_of,
    http_compression,
    http_url,
)
from meta.telemetry.temporal import SdkMetrics
from meta.trace.otlp import resource_of
from workflows.errors import PortTaken, SettingsInvalid

log = logging.getLogger(__name__)

Role = Literal["service", "worker"]

_EXPORT_S = 10.0
_GOODBYE_MS = 2000.0  # what is not sent by then is lost: a collector that is away must not keep a process


@asynccontextmanager
async def measured(telemetry: TelemetryConfig, role: Role) -> AsyncGenerator[Runtime | None]:
    """Let this process's metrics out until the block ends; once in a process's life.

    Yields:
        The runtime to make Temporal's clients with, so that what they count comes along. None when metrics are on
        neither way: then nothing is counted, and clients take the runtime that they always have.

    Raises:
        PortTaken: somebody else listens where Prometheus is to be answered.
        SettingsInvalid: an address is none, or metrics are to go by OTLP and there is no collector.
    """
    if not telemetry.metrics.wanted(role):
        yield None
        return
    async with providing(telemetry, role) as provider:
        metrics.set_meter_provider(provider)
        sdk = SdkMetrics(provider)
        sdk.start()
        try:
            yield sdk.runtime
        finally:
            await sdk.close()


@asynccontextmanager
async def providing(telemetry: TelemetryConfig, role: Role) -> AsyncGenerator[MeterProvider]:
    """A provider whose metrics go where the configuration says, until the block ends.

    Raises:
        PortTaken: see `measured`.
        SettingsInvalid: see `measured`.
    """
    address = telemetry.metrics.service if role == "service" else telemetry.metrics.worker
    async with AsyncExitStack() as stack:
        readers: list[MetricReader] = []
        if address:
            registry = _Registry()
            readers.append(PrometheusMetricReader(registry=registry, scope_info_enabled=False))
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            serving = _Endpoint(address, role, registry)
            stack.push_async_callback(asyncio.to_thread, serving.close)
            log.info("metrics at http://%s/metrics", serving.address)
        if telemetry.metrics.otlp:
            readers.append(
                PeriodicExportingMetricReader(
                    otlp_exporter(telemetry), telemetry.metrics.interval * 1000, _EXPORT_S * 1000
                )
            )
            log.info("metrics go to %s by OTLP", telemetry.otlp_endpoint)
        provider = MeterProvider(readers, metric_resource(telemetry, role), shutdown_on_exit=False)
        stack.push_async_callback(asyncio.to_thread, provider.shutdown, _GOODBYE_MS)
        yield provider


def metric_resource(telemetry: TelemetryConfig, role: Role) -> Resource:
    """What tells the metrics: the project's resource, and which process; two must not write one series."""
    process = {"meta.process": role, "service.instance.id": f"{socket.gethostname()}/{os.getpid()}"}
    return Resource({**process, **resource_of(telemetry)})


def otlp_exporter(telemetry: TelemetryConfig) -> MetricExporter:
    """The official exporter to the collector that traces go to.

    Raises:
        SettingsInvalid: there is no collector, or its file of certificates cannot be read.
    """
    endpoint = telemetry.otlp_endpoint.rstrip("/")
    if not endpoint:
        raise SettingsInvalid(
            "telemetry.metrics.otlp is on and there is no collector",
            hint="set otlp_endpoint in [telemetry], as http://collector:4317",
        )
    certificates_of(telemetry)  # says what is wrong with the file
    headers = headers_of(telemetry)
    if telemetry.otlp_protocol == "http":
        return HttpExporter(
            http_url(telemetry, "/v1/metrics"),
            certificate_file=None if telemetry.otlp_ca_file is None else str(telemetry.otlp_ca_file),
            headers=headers,
            timeout=_EXPORT_S,
            compression=http_compression(telemetry),
            session=TrustingSession(),
        )
    credentials = credentials_of(telemetry)
    return GrpcExporter(
        endpoint,
        insecure=credentials is None,
        credentials=credentials,
        headers=headers,
        timeout=_EXPORT_S,
        compression=grpc_compression(telemetry),
    )


class _Registry(CollectorRegistry):
    """Answers one scrape at a time: OpenTelemetry's reader mixes up two at once."""

    def __init__(self) -> None:
        super().__init__()
        self._scrape = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._scrape:
            return list(super().collect())


class _Endpoint:
    """The HTTP server that Prometheus scrapes.

    Attributes:
        address: host:port, with the real port where 0 was asked for.
    """

    def __init__(self, address: str, role: Role, registry: CollectorRegistry) -> None:
        key = f"telemetry.metrics.{role}"
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535:
            raise SettingsInvalid(f"{key} is {address!r}", hint="it is host:port, as 127.0.0.1:9464")
        host = host.strip("[]") or "0.0.0.0"
        try:
            self._server, self._thread = start_http_server(int(port), host, registry)
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {address} for metrics: {error.strerror or error}",
                hint=f"stop what uses it, or set {key} in meta.toml",
            ) from error
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
