"""What a picture of a trace is, row by row, whoever draws it: the terminal, SVG or HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from meta.trace.analysis import Whose
from meta.trace.model import Span
from meta.trace.stretches import Slice, Where


class Look(StrEnum):
    """How a bar looks."""

    WORKING = "working"
    QUEUEING = "queueing"
    RETRYING = "retrying"
    OURS = "ours"
    FAILED = "failed"
    CACHED = "cached"
    HOLDER = "holder"  # its time is that of those below it
    FOLDED = "folded"


LOOKS: Mapping[Whose, Look] = {
    Whose.WORKING: Look.WORKING,
    Whose.QUEUEING: Look.QUEUEING,
    Whose.RETRYING: Look.RETRYING,
    Whose.OURS: Look.OURS,
}


OURS: Mapping[Where, str] = {
    Where.SUBMIT: "submit",
    Where.STAGING: "staging",
    Where.DETECTION: "seeing the end",
    Where.BETWEEN: "between",
}
"""What this software does, in the words of the pictures."""

THE_RUN = "the run"
"""Name of the run's line in the table of times."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a row."""

    start: datetime
    end: datetime
    look: Look


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a picture.

    Attributes:
        depth: 0 for the run.
        label: short, because what stands above it says the rest.
        state: in our words or the engine's; empty for what has none.
        note: `cached`, `3 attempts`; empty for nothing to say.
        bars: in time's order; none for what never began.
        seconds: how long it took; None for what never began and for what is folded.
        critical: it is on the critical path.
        span: None for a step that never began and for what is folded.
    """

    depth: int
    label: str
    state: str = ""
    note: str = ""
    bars: Sequence[Bar] = ()
    seconds: float | None = None
    critical: bool = False
    failed: bool = False
    span: Span | None = None

    @property
    def folded(self) -> bool:
        """Whether it stands for many."""
        return self.span is None and bool(self.bars)


@dataclass(frozen=True, slots=True)
class StepTime:
    """A step that began, for the table of times."""

    name: str
    seconds: float
    slices: Sequence[Slice]
    critical: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it.

    Attributes:
        name: of the run's span, or of the step that alone is shown.
        state: of that.
        start: where the axis begins.
        end: where it ends: the run's end, or now.
        seconds: of the run or the step; the axis can be longer, because of the cause.
        goes_on: it has not ended.
        lead: between the cause and the start of the run, where the axis does not show it.
        whole: slices of the run, or of the step.
        alone: a step alone is shown.
        path: ids of the spans on the critical path.
        steps: those that began, by their starts.
        problems: what failed, with its message.
    """

    name: str
    state: str
    start: datetime
    end: datetime
    seconds: float
    goes_on: bool
    lead: timedelta
    whole: Sequence[Slice]
    alone: bool = False
    path: frozenset[str] = frozenset()
    rows: Sequence[Row] = field(default_factory=list[Row])
    steps: Sequence[StepTime] = field(default_factory=list[StepTime])
    problems: Sequence[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def place(self, moment: datetime) -> float:
        """Where a moment is on the axis, 0 to 1."""
        whole = (self.end - self.start) / timedelta(microseconds=1)
        at = (moment - self.start) / timedelta(microseconds=1)
        return min(max(at / whole, 0.0), 1.0) if whole > 0 else 0.0


def short_time(seconds: float) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h10m`, as `meta get` writes them; below a tenth in milliseconds."""
    if 0 < seconds < 0.095:
        return f"{max(1, round(seconds * 1000))}ms"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def share(length: timedelta, seconds: float) -> str:
    """`1.2s  57%` of a whole; a dash for nothing."""
    if not length:
        return "-"
    part = length.total_seconds()
    return f"{short_time(part)} {part / seconds * 100:3.0f}%"
