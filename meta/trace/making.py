"""What the spans of one trace share, and how one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from meta.trace.attributes import ERROR_TYPE, EXCEPTION_MESSAGE, EXCEPTION_TYPE, OTHER, RUN_ID, TRY, WORKER, given
from meta.trace.model import PART, Attribute, Link, Part, Span, SpanEvent, SpanKind, Status
from meta.trace.record import WorkRecord
from workflows.messages import RunSnapshot
from workflows.trace import span_id, trace_id

Times = tuple[datetime, datetime | None]
"""Start and end; no end while it goes on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How what a span is of came out."""

    status: Status = Status.UNSET
    message: str = ""
    error: str = ""

    @classmethod
    def failed(cls, message: str, error: str) -> Self:
        """It failed.

        Args:
            message: why, in words.
            error: class or code of the failure; empty when nobody has a word for it.
        """
        return cls(Status.ERROR, message, error or OTHER)


UNJUDGED = Verdict()
GOOD = Verdict(Status.OK)


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of one run.

    Attributes:
        start: of the run.
        end: of the run; None while it goes on.
    """

    run: RunSnapshot
    id: str
    start: datetime
    end: datetime | None
    others: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    @classmethod
    def of(cls, run: RunSnapshot, start: datetime, others: Mapping[str, Mapping[str, str]] | None = None) -> Self:
        """The trace of a run that has started; `others` as `RunRecord` has them."""
        end = None
        if run.state.ended:
            ends = [at for at in (run.finished_at, *(step.finished_at for step in run.steps)) if at is not None]
            end = run.finished_at or max(ends, default=start)
        return cls(run, trace_id(run.id, run.trace), start, None if end is None else max(start, end), others or {})

    def links_to(self, run_id: str, *path: object) -> list[Link]:
        """A link to a span of another run; none when the store does not know that run any more."""
        if run_id not in self.others:
            return []
        return [Link(trace_id(run_id, self.others[run_id]), span_id(run_id, *path))]

    def id_of(self, *path: object) -> str:
        """Id of a span of this run."""
        return span_id(self.run.id, *path)

    def span(
        self,
        part: Part,
        own: str,
        parent: str,
        name: str,
        times: Times,
        *,
        verdict: Verdict = UNJUDGED,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Attribute | None],
        events: Sequence[SpanEvent] = (),
        links: Sequence[Link] = (),
    ) -> Span:
        """A span.

        Args:
            part: what it is of.
            own: its id.
            parent: id of its parent.
            name: of few different ones, so that backends can group by it.
            times: start and end; an end before the start, as clocks that differ or are cut to seconds give it, is the
                start.
            verdict: how it came out.
            kind: of the span.
            attributes: those that are not known are left out.
            events: in any order.
            links: to other traces.
        """
        start, end = times
        told: dict[str, Attribute] = {PART: part.value, RUN_ID: self.run.id, **given(attributes)}
        if verdict.error:
            told[ERROR_TYPE] = verdict.error
        return Span(
            trace_id=self.id,
            span_id=own,
            parent_id=parent,
            name=name,
            start=start,
            end=None if end is None else max(start, end),
            kind=kind,
            status=verdict.status,
            message=verdict.message,
            attributes=told,
            events=tuple(sorted(events, key=lambda event: event.at)),
            links=tuple(links),
        )


def exception_of(work: WorkRecord) -> SpanEvent:
    """A try that failed, as an event of what was tried; named as the semantic conventions name exceptions."""
    attributes = {
        EXCEPTION_TYPE: work.code,
        EXCEPTION_MESSAGE: work.message,
        TRY: work.number,
        WORKER: work.worker,
    }
    return SpanEvent("exception", work.ended_at, given(attributes))
