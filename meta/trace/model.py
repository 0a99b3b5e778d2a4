"""Spans as this project makes and reads them; `meta.trace.otlp` turns them into OpenTelemetry's and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Attribute = str | bool | int | float | Sequence[str]


class SpanKind(StrEnum):
    """As OpenTelemetry has them."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Status(StrEnum):
    """As OpenTelemetry has them; a span that has not failed is `UNSET` or, where somebody judged it so, `OK`."""

    UNSET = "unset"
    OK = "ok"
    ERROR = "error"


class Part(StrEnum):
    """What a span is of; attribute `meta.part`. With it, readers of a trace tell apart where the time went."""

    CAUSE = "cause"
    RUN = "run"
    STEP = "step"
    ITEM = "item"  # of a fan-out
    ATTEMPT = "attempt"
    SUBMIT = "submit"
    WAIT = "wait"
    ENGINE = "engine"  # the engine run, by the engine's clock
    NODE = "node"
    STAGE = "stage"  # artifacts are copied to where the engine reads them
    WORK = "work"  # a try of an activity that failed


_PARTS = {part.value: part for part in Part}
PART = "meta.part"
"""Attribute that says what a span is of; see `Part`."""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


@dataclass(frozen=True, slots=True)
class Link:
    """A span, or a whole trace, that belongs to another. `span_id` is empty when only the trace is known."""

    trace_id: str
    span_id: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


@dataclass(frozen=True, slots=True)
class Span:
    """One span.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits, the same however often the span is told.
        parent_id: empty at the root of a trace that begins here.
        end: None while it goes on; such a span is shown, and exported when it has ended.
        message: why it failed.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: datetime
    end: datetime | None
    kind: SpanKind = SpanKind.INTERNAL
    status: Status = Status.UNSET
    message: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    events: Sequence[SpanEvent] = ()
    links: Sequence[Link] = ()

    @property
    def part(self) -> Part | None:
        """What it is of; None for a span of somebody else."""
        found = self.attributes.get(PART)
        return _PARTS.get(found) if isinstance(found, str) else None
