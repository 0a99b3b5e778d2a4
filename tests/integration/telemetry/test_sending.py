"""Spans on their way: both protocols, headers, certificates, compression, and what failures are taken for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from meta.config import TelemetryConfig
from meta.telemetry import sending
from meta.telemetry.sending import Answer, Sender
from meta.trace.model import Link, Span, SpanEvent, SpanKind, Status
from tests.support.certificates import Authority
from tests.support.otlp import GrpcCollector, grpc_collector, http_collector
from workflows.errors import SettingsInvalid

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SPAN = Span(
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_id="00f067aa0ba902b7",
    name="step train",
    start=START,
    end=START + timedelta(seconds=2),
    kind=SpanKind.CLIENT,
    status=Status.ERROR,
    message="exit code 1",
    attributes={"meta.part": "step", "count": 3, "ratio": 0.5, "cached": False, "names": ("a", "b")},
    events=(SpanEvent("retry", START + timedelta(seconds=1), {"attempt": 2}),),
    links=(Link("4bf92f3577b34da6a3ce929d0e0e4736", "", {"why": "its own"}),),
)


async def told(telemetry: TelemetryConfig, *spans: Span) -> sending.Reply:
    sender = Sender(telemetry)
    try:
        return await sender.send(spans)
    finally:
        sender.close()


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_spans_arrive_whole_over_grpc_and_http(collector: GrpcCollector, compression: str) -> None:
    async with http_collector() as http:
        for protocol, receiver in (("grpc", collector), ("http", http)):
            telemetry = TelemetryConfig.model_validate(
                {
                    "otlp_endpoint": receiver.endpoint, "otlp_protocol": protocol, "otlp_compression": compression,
                    "otlp_headers": {"Authorization": "Bearer secret"}, "service_name": "ours",
                    "resource": {"deployment.environment.name": "test"},
                }
            )  # fmt: skip
            assert (await told(telemetry, SPAN)).answer is Answer.TAKEN
            [one] = receiver.requests
            assert one.spans == [SPAN]
            assert one.headers["authorization"] == "Bearer secret"
            assert one.resource["service.name"] == "ours"
            assert one.resource["deployment.environment.name"] == "test"
            assert (await told(telemetry)).answer is Answer.TAKEN, "nothing at all is a question"
        assert http.requests[0].headers[":path"] == "/v1/traces"
        assert http.requests[0].headers.get("content-encoding", "none") == compression


async def test_a_collector_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with grpc_collector(authority.sign("collector", "127.0.0.1")) as receiver:
        telemetry = TelemetryConfig(otlp_endpoint=receiver.endpoint)
        assert (await told(telemetry, SPAN)).answer is Answer.DOWN, "nobody knows its authority"
        trusting = telemetry.model_copy(update={"otlp_ca_file": authority.file})
        assert (await told(trusting, SPAN)).answer is Answer.TAKEN
        for protocol in ("grpc", "http"):
            lost = {"otlp_ca_file": tmp_path / "none.pem", "otlp_protocol": protocol}
            with pytest.raises(SettingsInvalid, match="otlp_ca_file"):
                Sender(telemetry.model_copy(update=lost))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (grpc.StatusCode.UNAVAILABLE, Answer.DOWN),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Answer.DOWN),
        (grpc.StatusCode.UNAUTHENTICATED, Answer.DENIED),
        (grpc.StatusCode.UNIMPLEMENTED, Answer.DENIED),
        (grpc.StatusCode.INVALID_ARGUMENT, Answer.REFUSED),
    ],
)
async def test_what_a_status_of_grpc_is_taken_for(
    collector: GrpcCollector, status: grpc.StatusCode, answer: Answer
) -> None:
    collector.refuse = lambda _: status
    reply = await told(TelemetryConfig(otlp_endpoint=collector.endpoint), SPAN)
    assert reply.answer is answer
    assert status.name in reply.reason
    assert reply.hint
    assert collector.tried == 1, "whoever sends decides when to try again"


@pytest.mark.parametrize(
    ("status", "answer"), [(301, Answer.DENIED), (401, Answer.DENIED), (404, Answer.DENIED), (400, Answer.REFUSED)]
)
async def test_what_a_status_of_http_is_taken_for(status: int, answer: Answer) -> None:
    async with http_collector() as receiver:
        receiver.refuse = lambda _: status
        reply = await told(TelemetryConfig(otlp_endpoint=receiver.endpoint, otlp_protocol="http"), SPAN)
    assert reply.answer is answer
    assert reply.reason.startswith(f"HTTP {status}")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_collector_that_is_away_or_hangs_is_down(
    collector: GrpcCollector, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.5)
    async with http_collector() as http:
        receiver = collector if protocol == "grpc" else http
        receiver.hanging = True
        telemetry = TelemetryConfig.model_validate({"otlp_endpoint": receiver.endpoint, "otlp_protocol": protocol})
        assert (await told(telemetry, SPAN)).answer is Answer.DOWN
    nobody = telemetry.model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})
    reply = await told(nobody, SPAN)
    assert reply.answer is Answer.DOWN
    assert "otlp_endpoint" in reply.hint
