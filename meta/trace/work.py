"""Spans of tries of activities: those that failed, and those that leave no other record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meta.trace import attributes as names
from meta.trace.making import UNJUDGED, Trace, Verdict
from meta.trace.model import Part, Span
from meta.trace.record import WorkRecord


def work_spans(trace: Trace, parent: str, work: Iterable[WorkRecord]) -> Iterator[Span]:
    """A span for each try.

    Args:
        trace: whose they are.
        parent: id of the span that they belong to.
        work: the tries.
    """
    for one in work:
        key = one.key
        yield trace.span(
            Part.WORK,
            trace.id_of("work", key.step, key.index, key.attempt, one.what, one.number),
            parent,
            one.what,
            (one.started_at, one.ended_at),
            verdict=Verdict.failed(one.message or one.code, one.code) if one.code else UNJUDGED,
            attributes={
                names.ACTIVITY: one.what,
                names.TRY: one.number,
                names.WORKER: one.worker,
                names.STEP: key.step,
                names.ATTEMPT: key.attempt or None,
                names.INDEX: key.index or None,
            },
        )
