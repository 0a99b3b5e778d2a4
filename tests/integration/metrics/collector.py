"""A collector of metrics on the official protobufs, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services

from tests.support.certificates import Certificate


@dataclass
class Collector(services.MetricsServiceServicer):
    """Keeps what it is sent.

    Attributes:
        endpoint: as `telemetry.otlp_endpoint` has it.
        resources: attributes of the resources that were told of.
        names: of the metrics, by `meta.process` of their resource.
        headers: of the last request.
    """

    endpoint: str = ""
    resources: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    names: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def take(self, request: messages.ExportMetricsServiceRequest) -> None:
        for one in request.resource_metrics:
            resource = {pair.key: pair.value.string_value for pair in one.resource.attributes}
            self.resources.append(resource)
            names = {metric.name for scope in one.scope_metrics for metric in scope.metrics}
            self.names.setdefault(resource.get("meta.process", ""), set()).update(names)

    async def Export(
        self,
        request: messages.ExportMetricsServiceRequest,
        context: grpc.aio.ServicerContext[messages.ExportMetricsServiceRequest, messages.ExportMetricsServiceResponse],
    ) -> messages.ExportMetricsServiceResponse:
        self.headers = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        self.take(request)
        return messages.ExportMetricsServiceResponse()


@asynccontextmanager
async def collector(certificate: Certificate | None = None) -> AsyncGenerator[Collector]:
    """Serve on a free port; with a certificate over TLS."""
    sink = Collector()
    server = grpc.aio.server()
    services.add_MetricsServiceServicer_to_server(sink, server)
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (_read(certificate.key_file), _read(certificate.cert_file))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    sink.endpoint = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
    await server.start()
    try:
        yield sink
    finally:
        await server.stop(0)
        await asyncio.sleep(0)


def _read(file: Path) -> bytes:
    return file.read_bytes()
