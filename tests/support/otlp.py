"""A collector, by OTLP's official protobufs over gRPC and over HTTP. It keeps what it is sent, and can misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import grpc
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from meta.trace.model import Span
from meta.trace.otlp import from_traces_data
from tests.support.certificates import Certificate
from tests.support.ports import free_port
from tests.support.traces import check_tree


@dataclass
class Received:
    """One request.

    Attributes:
        headers: or metadata, with names in lower case.
        resource: attributes of the first resource.
    """

    spans: list[Span]
    headers: dict[str, str]
    resource: dict[str, str]


@dataclass
class Collector:
    """Keeps requests, and answers each as the test says.

    Attributes:
        requests: that were taken, in order.
        refuse: what a request is answered with in place of success: a gRPC status, or that of HTTP.
        heard: called with each request that was taken, before it is answered.
        hanging: requests are taken and never answered.
        tried: how many requests came, taken or not.
        faults: what was wrong at the moment when a request had come: a parent that is missing, a span told otherwise.
    """

    endpoint: str = ""
    requests: list[Received] = field(default_factory=list[Received])
    refuse: Callable[[Sequence[Span]], grpc.StatusCode | int | None] = lambda _: None
    heard: Callable[[Received], object] = lambda _: None
    hanging: bool = False
    tried: int = 0
    faults: list[str] = field(default_factory=list[str])
    _traces: dict[str, list[Span]] = field(default_factory=dict[str, list[Span]])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def spans(self) -> list[Span]:
        """All that has come, repeats too."""
        return [span for one in self.requests for span in one.spans]

    def trace(self, trace_id: str) -> list[Span]:
        """Spans of a trace, repeats too."""
        return list(self._traces.get(trace_id, ()))

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until what has come makes the condition true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def answer(self, request: ExportTraceServiceRequest, headers: dict[str, str]) -> grpc.StatusCode | int | None:
        """Take a request, in the loop's thread; what it is answered with, if not by success."""
        self.tried += 1
        spans = from_traces_data(TracesData(resource_spans=request.resource_spans))
        refusal = self.refuse(spans)
        if refusal is None:
            first = request.resource_spans[0].resource.attributes if request.resource_spans else ()
            self.requests.append(Received(spans, headers, {one.key: one.value.string_value for one in first}))
            for trace_id in dict.fromkeys(span.trace_id for span in spans):
                known = self._traces.setdefault(trace_id, [])
                known += [span for span in spans if span.trace_id == trace_id]
                try:
                    check_tree(known)
                except AssertionError as error:
                    self.faults.append(str(error))
            self.heard(self.requests[-1])
        self._changed.set()
        return refusal


class _Servicer(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(  # pyright: ignore[reportIncompatibleMethodOverride] -- the generated class knows of no asyncio
        self,
        request: ExportTraceServiceRequest,
        context: aio.ServicerContext[ExportTraceServiceRequest, ExportTraceServiceResponse],
    ) -> ExportTraceServiceResponse:
        headers = {str(key).lower(): str(value) for key, value in context.invocation_metadata() or ()}
        refusal = self._collector.answer(request, headers)
        if self._collector.hanging:
            await asyncio.Event().wait()
        if isinstance(refusal, grpc.StatusCode):
            await context.abort(refusal, "as the test says")
        return ExportTraceServiceResponse()


@dataclass
class GrpcCollector(Collector):
    """Over gRPC; it can be down and come back at its address, with what it had."""

    certificate: Certificate | None = None
    _server: aio.Server | None = None

    async def start(self) -> None:
        scheme, _, address = (self.endpoint or f"http://127.0.0.1:{free_port()}").partition("://")
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        cast(Any, trace_service_pb2_grpc).add_TraceServiceServicer_to_server(_Servicer(self), server)
        if self.certificate is None:
            server.add_insecure_port(address)
        else:
            scheme = "https"
            pair = (self.certificate.key_file.read_bytes(), self.certificate.cert_file.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        await server.start()
        self.endpoint, self._server = f"{scheme}://{address}", server

    async def stop(self) -> None:
        """Go away, as a crash does."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


@asynccontextmanager
async def grpc_collector(certificate: Certificate | None = None) -> AsyncGenerator[GrpcCollector]:
    collector = GrpcCollector(certificate=certificate)
    await collector.start()
    try:
        yield collector
    finally:
        await collector.stop()


@asynccontextmanager
async def http_collector() -> AsyncGenerator[Collector]:
    """Protobuf over HTTP; compressed or not."""
    collector, loop = Collector(), asyncio.get_running_loop()
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            headers = {key.lower(): value for key, value in self.headers.items()} | {":path": self.path}
            answering = asyncio.run_coroutine_threadsafe(_answer(collector, request, headers), loop)
            refusal = answering.result(30)
            if collector.hanging:
                released.wait(30)
            content = ExportTraceServiceResponse().SerializeToString() if refusal is None else b"as the test says"
            with contextlib.suppress(ConnectionError):  # who asked may have gone
                self._reply(refusal, content)

        def _reply(self, refusal: grpc.StatusCode | int | None, content: bytes) -> None:
            self.send_response(200 if refusal is None else int(str(refusal)))
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        released.set()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


async def _answer(
    collector: Collector, request: ExportTraceServiceRequest, headers: dict[str, str]
) -> grpc.StatusCode | int | None:
    return collector.answer(request, headers)


def telemetry_toml(endpoint: str, protocol: str = "grpc", more: str = "") -> str:
    """The section of a configuration file."""
    return f'[telemetry]\notlp_endpoint = "{endpoint}"\notlp_protocol = "{protocol}"\n{more}\n'
