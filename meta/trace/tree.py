"""The spans of a run as a tree to read: steps stand below the run, though in the trace they are its siblings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from meta.trace.model import Part, Span


@dataclass(slots=True)
class Branch:
    """A span and those below it, in the order of their starts.

    Attributes:
        span: as it was told.
        start: of the span.
        end: of the span, or now.
    """

    span: Span
    start: datetime
    end: datetime
    below: list[Branch] = field(default_factory=list["Branch"])

    @property
    def part(self) -> Part | None:
        return self.span.part

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    def of(self, *parts: Part) -> list[Branch]:
        """Those directly below that are of these parts."""
        return [one for one in self.below if one.part in parts]

    def walk(self) -> Iterator[Branch]:
        """This one and all below, parents first."""
        waiting: list[Branch] = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting += reversed(one.below)


def forest(spans: Sequence[Span], now: datetime) -> list[Branch]:
    """The trees of a trace: one, unless parents are missing.

    Args:
        spans: of one run.
        now: ends those that go on.
    """
    branches = {
        span.span_id: Branch(span, span.start, max(span.start, span.end if span.end is not None else now))
        for span in spans
    }
    run = next((span.span_id for span in spans if span.part is Part.RUN), "")
    roots: list[Branch] = []
    for branch in branches.values():
        above = run if branch.part is Part.STEP and run else branch.span.parent_id
        parent = branches.get(above)
        (parent.below if parent is not None and parent is not branch else roots).append(branch)
    for branch in branches.values():
        branch.below.sort(key=lambda one: (one.start, one.end))
    return roots


def run_of(roots: Sequence[Branch]) -> Branch | None:
    """The run's own branch; None where the trace has none yet."""
    return next((one for root in roots for one in root.walk() if one.part is Part.RUN), None)


def without_end(spans: Sequence[Span]) -> bool:
    """Whether the run goes on."""
    return any(span.end is None for span in spans if span.part is Part.RUN)


def closed(span: Span, now: datetime) -> Span:
    """The span, ended now where it goes on, and marked so: an importer wants an end and every parent."""
    if span.end is not None:
        return span
    return replace(span, end=max(span.start, now), attributes={**span.attributes, UNFINISHED: True})


UNFINISHED = "meta.unfinished"
"""Attribute of a span that went on when it was written to a file; its end is that moment."""
