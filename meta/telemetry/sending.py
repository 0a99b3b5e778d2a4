"""Sends spans to a collector by OpenTelemetry's own exporters, and says what came of it.

The exporters answer with success or failure alone, so their connections are listened to for the reason. Which failures
go away by themselves: https://opentelemetry.io/docs/specs/otlp/#failures, and for HTTP #failures-1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol, cast

import grpc
import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

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
from meta.trace.model import Span
from meta.trace.otlp import resource_of, to_readable

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""Of one request, with the exporters' own few tries of it."""

_THREADS = "otlp-traces"
_PATH = "/v1/traces"


class Answer(Enum):
    """What a collector made of spans."""

    TAKEN = auto()
    DOWN = auto()  # it does not answer, or asks for patience
    DENIED = auto()  # it takes nothing of us: an address or a token is wrong
    REFUSED = auto()  # it does not take these spans


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its reason, and what to do about it; both are empty when the spans were taken."""

    answer: Answer
    reason: str = ""
    hint: str = ""


_TAKEN = Reply(Answer.TAKEN)
_DOWN_HINT = "see that the collector runs at [telemetry] otlp_endpoint, and speaks otlp_protocol there"
_DENIED_HINT = "check [telemetry] otlp_endpoint, otlp_protocol and otlp_headers"
_REFUSED_HINT = "the collector's log says more; its limits on sizes may be too tight"

_GRPC_DOWN = {
    grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip
_GRPC_DENIED = {
    grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
}  # fmt: skip
_HTTP_DOWN = {408, 429, 502, 503, 504}
_HTTP_DENIED = {401, 402, 403, 404, 405, 407, 415, 501}


class _Heard(Protocol):
    """What the last request of an exporter came to."""

    reply: Reply


class Sender:
    """Sends in a thread of its own, one request after another.

    Args:
        telemetry: with an endpoint.

    Raises:
        SettingsInvalid: the file of certificates cannot be read.
    """

    def __init__(self, telemetry: TelemetryConfig) -> None:
        self._resource = Resource(dict(resource_of(telemetry)))
        exporter: SpanExporter
        if telemetry.otlp_protocol == "grpc":
            exporter = grpc_exporter = _Grpc(telemetry)
            self._heard: _Heard = grpc_exporter
        else:
            session = _Session()
            self._heard = session
            exporter = _http(telemetry, session)
        self._exporter = exporter
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=_THREADS)

    async def send(self, spans: Sequence[Span]) -> Reply:
        """Send spans in one request; none is a fine way to ask whether the collector answers."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._send, spans)

    def close(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, spans: Sequence[Span]) -> Reply:
        self._heard.reply = Reply(Answer.DOWN, "no answer", _DOWN_HINT)
        try:
            result = self._exporter.export([to_readable(span, self._resource) for span in spans])
        except Exception as error:  # whatever goes wrong in the exporter must not end the job
            log.exception("spans cannot be sent")
            return Reply(Answer.REFUSED, repr(error), _REFUSED_HINT)
        reply = self._heard.reply
        if result is SpanExportResult.SUCCESS and reply.answer is Answer.TAKEN and reply.reason:
            log.warning("the collector took only a part of what it was sent: %s", reply.reason)
        return reply


class _Grpc(GrpcExporter):
    """The official exporter, with an ear to the status. It does not try again by itself: its caller does."""

    def __init__(self, telemetry: TelemetryConfig) -> None:
        _keep_quiet("opentelemetry.exporter.otlp.proto.grpc.exporter")
        self.reply = _TAKEN
        credentials = credentials_of(telemetry)
        super().__init__(
            endpoint=telemetry.otlp_endpoint,
            insecure=credentials is None,
            credentials=credentials,
            headers=headers_of(telemetry),
            timeout=TIMEOUT_S,
            compression=grpc_compression(telemetry),
            retryable_error_codes=[grpc.StatusCode.OK],
        )

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()
        self._client = _Ear(self, cast(Any, self._client))


class _Ear:
    """Stands where the exporter has its stub."""

    def __init__(self, exporter: _Grpc, stub: Any) -> None:
        self._exporter = exporter
        self._stub = stub

    def Export(self, **request: object) -> ExportTraceServiceResponse:
        try:
            response: ExportTraceServiceResponse = self._stub.Export(**request)
        except grpc.RpcError as error:
            self._exporter.reply = _of_grpc(cast(grpc.Call, error))
            raise
        self._exporter.reply = _of_response(response)
        return response


class _Session(TrustingSession):
    """What the official exporter sends by, with an ear to the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.reply = _TAKEN

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        try:
            response = super().send(request, **settings)
        except requests.RequestException as error:
            self.reply = Reply(Answer.DOWN, str(error), _DOWN_HINT)
            raise
        self.reply = _of_http(response)
        return response


def _http(telemetry: TelemetryConfig, session: requests.Session) -> HttpExporter:
    _keep_quiet("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    certificates_of(telemetry)  # says what is wrong with the file
    return HttpExporter(
        endpoint=http_url(telemetry, _PATH),
        certificate_file=str(telemetry.otlp_ca_file) if telemetry.otlp_ca_file else None,
        headers=headers_of(telemetry),
        timeout=TIMEOUT_S,
        compression=http_compression(telemetry),
        session=session,
    )


def _of_grpc(error: grpc.Call) -> Reply:
    code, reason = error.code(), f"{error.code().name}: {error.details()}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in reason:  # of its messages, not of its work
        return Reply(Answer.REFUSED, reason, _REFUSED_HINT)
    if code in _GRPC_DOWN:
        return Reply(Answer.DOWN, reason, _DOWN_HINT)
    if code in _GRPC_DENIED:
        return Reply(Answer.DENIED, reason, _DENIED_HINT)
    return Reply(Answer.REFUSED, reason, _REFUSED_HINT)


def _of_http(response: requests.Response) -> Reply:
    status = response.status_code
    if 200 <= status < 300:
        try:
            return _of_response(ExportTraceServiceResponse.FromString(response.content))
        except DecodeError:  # an answer with other words in its body
            return _TAKEN
    reason = f"HTTP {status} {response.text[:200]}".strip()
    if status in _HTTP_DOWN:
        return Reply(Answer.DOWN, reason, _DOWN_HINT)
    if status in _HTTP_DENIED or 300 <= status < 400:  # a redirect is not followed
        return Reply(Answer.DENIED, reason, _DENIED_HINT)
    return Reply(Answer.REFUSED, reason, _REFUSED_HINT)


def _of_response(response: ExportTraceServiceResponse) -> Reply:
    partial = response.partial_success
    if not partial.rejected_spans and not partial.error_message:
        return _TAKEN
    return Reply(Answer.TAKEN, f"{partial.rejected_spans} spans were dropped: {partial.error_message}")


def _keep_quiet(logger: str) -> None:
    """Our own log tells of failures, once and with what to do; the exporter's would at every try."""
    found = logging.getLogger(logger)
    if not any(isinstance(one, _NotOurs) for one in found.filters):
        found.addFilter(_NotOurs())


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.threadName or "").startswith(_THREADS)
