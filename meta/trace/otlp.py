"""Spans as OpenTelemetry's SDK and protobufs have them, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from meta import __version__
from meta.config import TelemetryConfig
from meta.trace.model import Attribute, Link, Span, SpanEvent, SpanKind, Status

SCOPE = InstrumentationScope("meta_workflows.runs", __version__)
_SAMPLED = otel.TraceFlags(otel.TraceFlags.SAMPLED)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind: otel.SpanKind[kind.name] for kind in SpanKind}
_STATUSES = {status: otel.StatusCode[status.name] for status in Status}


def to_readable(span: Span, resource: Resource) -> ReadableSpan:
    """A span as exporters of OpenTelemetry's SDK take it; the end is missing where it goes on."""
    status = otel.Status(_STATUSES[span.status], span.message or None if span.status is Status.ERROR else None)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, _nanoseconds(event.at)) for event in span.events],
        links=[otel.Link(_context(link.trace_id, link.span_id), link.attributes) for link in span.links],
        kind=_KINDS[span.kind],
        status=status,
        start_time=_nanoseconds(span.start),
        end_time=None if span.end is None else _nanoseconds(span.end),
        instrumentation_scope=SCOPE,
    )


def resource_of(telemetry: TelemetryConfig) -> dict[str, str]:
    """Attributes of what tells the spans."""
    return {"service.name": telemetry.service_name, "service.version": __version__, **telemetry.resource}


def to_traces_data(spans: Iterable[Span], resource: Mapping[str, str]) -> trace_pb2.TracesData:
    """Spans in the form of OTLP's files; one that goes on has the end 0."""
    made = Resource(dict(resource))
    request = encode_spans([to_readable(span, made) for span in spans])
    return trace_pb2.TracesData(resource_spans=request.resource_spans)


def from_traces_data(data: trace_pb2.TracesData) -> list[Span]:
    """Spans as `to_traces_data` wrote them, in their order."""
    return [_span(span) for resource in data.resource_spans for scope in resource.scope_spans for span in scope.spans]


def read_traces_data(data: bytes) -> list[Span]:
    """The same from the bytes that the service sends."""
    return from_traces_data(trace_pb2.TracesData.FromString(data))


def read_resource(data: bytes) -> dict[str, str]:
    """Attributes of what told these spans, as texts."""
    told = trace_pb2.TracesData.FromString(data).resource_spans
    return {name: str(value) for one in told[:1] for name, value in _attributes(one.resource.attributes).items()}


def _context(trace_id: str, span_id: str) -> otel.SpanContext:
    return otel.SpanContext(int(trace_id, 16), int(span_id or "0", 16), is_remote=False, trace_flags=_SAMPLED)


def _nanoseconds(at: datetime) -> int:
    delta = at - _EPOCH
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000


def _moment(nanoseconds: int) -> datetime:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _span(span: trace_pb2.Span) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        start=_moment(span.start_time_unix_nano),
        end=_moment(span.end_time_unix_nano) if span.end_time_unix_nano else None,
        kind=SpanKind[trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")],
        status=Status[trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_")],
        message=span.status.message,
        attributes=_attributes(span.attributes),
        events=tuple(
            SpanEvent(one.name, _moment(one.time_unix_nano), _attributes(one.attributes)) for one in span.events
        ),
        links=tuple(_link(link) for link in span.links),
    )


def _link(link: trace_pb2.Span.Link) -> Link:
    known = link.span_id if any(link.span_id) else b""
    return Link(link.trace_id.hex(), known.hex(), _attributes(link.attributes))


def _attributes(found: Sequence[KeyValue]) -> dict[str, Attribute]:
    return {one.key: _value(one.value) for one in found}


def _value(value: AnyValue) -> Attribute:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(one.string_value for one in value.array_value.values)
    found = getattr(value, kind) if kind else ""
    assert isinstance(found, str | bool | int | float)
    return found
