"""What the pictures say about one span, in lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from meta.trace.model import PART, Span
from meta.trace.picture import Row, short_time

_SHOWN = (
    "meta.engine.name", "meta.engine.run.name", "meta.node.type", "process.exit.code", "meta.worker", "meta.step.note",
)  # fmt: skip


def tooltip(row: Row) -> str:
    """A row in a few lines: what it is, how long it took and when, and why it failed."""
    head = ", ".join(word for word in (row.label, row.state, row.note) if word)
    lines = [head if row.seconds is None else f"{head}: {short_time(row.seconds)}"]
    if row.critical:
        lines.append("on the critical path")
    if row.span is not None and row.seconds is not None:
        lines.append(f"{clock(row.span.start)} to {clock(row.span.end) if row.span.end is not None else 'now'}")
        lines += [f"{name}: {row.span.attributes[name]}" for name in _SHOWN if name in row.span.attributes]
        if row.span.message:
            lines.append(row.span.message)
    return "\n".join(lines)


def facts(span: Span) -> Iterator[tuple[str, str]]:
    """All that a span says, as pairs."""
    yield "start", clock(span.start)
    yield "end", clock(span.end) if span.end is not None else "goes on"
    yield "status", span.status.value + (f": {span.message}" if span.message else "")
    yield "span id", span.span_id
    for name, value in sorted(span.attributes.items()):
        if name != PART:
            yield name, value if isinstance(value, str) else str(value)
    for event in span.events:
        said = ", ".join(f"{name}: {value}" for name, value in event.attributes.items())
        yield f"event {event.name}", f"{clock(event.at)} {said}".rstrip()
    for link in span.links:
        yield "link", " ".join(word for word in (link.trace_id, link.span_id) if word)


def clock(moment: datetime) -> str:
    """`2026-01-02 03:04:05.678 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
