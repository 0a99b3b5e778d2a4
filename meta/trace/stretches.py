"""Stretches of time, and giving each to what it went to, so that nothing is given twice and nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

Stretch = tuple[datetime, datetime]


class Where(StrEnum):
    """Where a moment went; see the top of `meta.trace.analysis`."""

    WORKING = "working"
    QUEUEING = "queueing"
    RETRYING = "retrying"
    SUBMIT = "submit"
    STAGING = "staging"
    DETECTION = "detection"
    BETWEEN = "between"


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time that went one way."""

    start: datetime
    end: datetime
    where: Where

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def clip(slices: Iterable[Slice], start: datetime, end: datetime) -> list[Slice]:
    """What of the slices is between two moments."""
    cut = (Slice(max(one.start, start), min(one.end, end), one.where) for one in slices)
    return [one for one in cut if one.start < one.end]


def layer(made: list[Slice], free: list[Stretch], times: Iterable[Stretch], where: Where) -> list[Stretch]:
    """Give what is free at these times to `where`; returns what is still free."""
    painted, rest = paint(free, times, where)
    made += painted
    return rest


def paint(free: list[Stretch], times: Iterable[Stretch], where: Where) -> tuple[list[Slice], list[Stretch]]:
    """Split what is free, sorted and without overlaps, into what these times cover and the rest."""
    covers = _merged(times)
    painted: list[Slice] = []
    rest: list[Stretch] = []
    at = 0
    for begins, end in free:
        start = begins
        while at < len(covers) and covers[at][1] <= start:
            at += 1
        here = at
        while here < len(covers) and covers[here][0] < end:
            first, last = max(covers[here][0], start), min(covers[here][1], end)
            if start < first:
                rest.append((start, first))
            painted.append(Slice(first, last, where))
            start = last
            here += 1
        if start < end:
            rest.append((start, end))
    return painted, rest


def _merged(times: Iterable[Stretch]) -> list[Stretch]:
    found: list[Stretch] = []
    for start, end in sorted(time for time in times if time[0] < time[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def joined(slices: Iterable[Slice]) -> list[Slice]:
    """In time's order, with neighbours that went the same way as one."""
    found: list[Slice] = []
    for one in sorted(slices, key=lambda one: one.start):
        if found and found[-1].where is one.where and found[-1].end == one.start:
            found[-1] = Slice(found[-1].start, one.end, one.where)
        else:
            found.append(one)
    return found
