"""Where the time of a run went: pure functions on its spans, by what they are of (`meta.part`) and their times alone.

Every moment of a run falls into one slice, so that the slices sum to the whole. Along its critical path a moment is
either in a step of the path or between two of them. Within a step it is one of these, the first that fits:

- `RETRYING`: in an attempt that was followed by another, or between two attempts;
- `WORKING`: a node of the engine run runs. What holds nodes does not count, only what has none below it. Of an engine
  run whose nodes are not known all of its time counts: the engine tells of them when it has ended;
- `SUBMIT`: the call that makes the engine run; its failed tries and the pauses between them are `RETRYING`;
- `QUEUEING`: the engine run is there, has not ended, and no node of it runs;
- `RETRYING`: failed tries of any other call, and the pauses between them;
- `STAGING`: artifacts are copied to where the engine reads them;
- `DETECTION`: the engine run has ended, and we have not seen it yet;
- `BETWEEN`: the rest: expressions, decisions, and what Temporal takes to go from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from meta.trace.model import Part
from meta.trace.reading import activity_of, has_failed, holds_nodes
from meta.trace.stretches import Slice, Stretch, Where, clip, joined, layer, paint
from meta.trace.tree import Branch

COARSE = timedelta(seconds=1)
"""Engines tell whole seconds, cut off: a start can seem to come before its cause, by less than this."""

_NO_TIME = timedelta(0)


class Whose(StrEnum):
    """The same in fewer words."""

    WORKING = "engine working"
    QUEUEING = "engine queueing"
    RETRYING = "retrying"
    OURS = "this software"


WHOSE: Mapping[Where, Whose] = {
    Where.WORKING: Whose.WORKING,
    Where.QUEUEING: Whose.QUEUEING,
    Where.RETRYING: Whose.RETRYING,
    Where.SUBMIT: Whose.OURS,
    Where.STAGING: Whose.OURS,
    Where.DETECTION: Whose.OURS,
    Where.BETWEEN: Whose.OURS,
}


@dataclass(frozen=True, slots=True)
class Analysis:
    """Of one run.

    Attributes:
        run: slices of the whole run, along the critical path.
        slices: of each step and attempt, by span id.
        path: ids of the spans on the critical path.
    """

    run: Sequence[Slice]
    slices: Mapping[str, Sequence[Slice]]
    path: frozenset[str]


def analyse(run: Branch) -> Analysis:
    """Take a run apart.

    Args:
        run: branch of the run's own span, with its steps below.
    """
    slices: dict[str, Sequence[Slice]] = {}
    for step in run.of(Part.STEP):
        slices |= _slices_of_step(step)
    chain = _chain(run.of(Part.STEP), run.start, run.end)
    whole = [cut for step in chain for cut in clip(slices[step.span.span_id], run.start, run.end)]
    gaps = paint([(run.start, run.end)], [(cut.start, cut.end) for cut in whole], Where.BETWEEN)[1]
    whole += [Slice(start, end, Where.BETWEEN) for start, end in gaps]
    path = {run.span.span_id}
    for step in chain:
        path |= _path_in_step(step)
    return Analysis(joined(whole), slices, frozenset(path))


def sums(slices: Iterable[Slice]) -> dict[Where, timedelta]:
    """Time by where it went; every `Where` is there."""
    found = dict.fromkeys(Where, _NO_TIME)
    for one in slices:
        found[one.where] += one.length
    return found


def by_whose(slices: Iterable[Slice]) -> dict[Whose, timedelta]:
    """The same in fewer words; every `Whose` is there."""
    found = dict.fromkeys(Whose, _NO_TIME)
    for where, length in sums(slices).items():
        found[WHOSE[where]] += length
    return found


# The critical path


def _chain(candidates: Sequence[Branch], start: datetime, end: datetime) -> list[Branch]:
    """What determined the end: walk back from it over what ended last, then over what ended before that began.

    Returns:
        A chain without overlaps, in time's order. What takes no time determines nothing and is not in it.
    """
    found: list[Branch] = []
    at = end
    for one in sorted(candidates, key=lambda one: (min(one.end, end), one.start), reverse=True):
        if min(one.end, end) <= at and max(one.start, start) < min(one.end, at):
            found.append(one)
            at = max(one.start, start)
    return found[::-1]


def _path_in_step(step: Branch) -> set[str]:
    path = {step.span.span_id}
    for item in _chain(step.of(Part.ITEM), step.start, step.end):
        path |= _path_in_step(item)
    for attempt in step.of(Part.ATTEMPT):
        path.add(attempt.span.span_id)
        path |= {one.span.span_id for one in attempt.of(Part.SUBMIT, Part.WAIT, Part.STAGE)}
        path |= {one.span.span_id for one in step.of(Part.STAGE)}
        waiting = _engines(attempt)
        while waiting:
            holder = waiting.pop()
            path.add(holder.span.span_id)
            waiting += _chain(holder.of(Part.NODE), holder.start, holder.end)
    return path


# Slices


def _slices_of_step(step: Branch) -> dict[str, Sequence[Slice]]:
    """Slices of a step and of each of its attempts, by span id."""
    found: dict[str, Sequence[Slice]] = {}
    for item in step.of(Part.ITEM):
        found |= _slices_of_step(item)
    attempts = step.of(Part.ATTEMPT)
    windows = _in_turn(attempts, step.start, step.end)
    free = [(step.start, step.end)]
    made: list[Slice] = []
    for attempt, window in zip(attempts, windows, strict=True):
        own = _slices_of_attempt(attempt, (attempt.start, attempt.end))
        found[attempt.span.span_id] = own
        if attempt is attempts[-1]:
            made += clip(own, *window)
            free = paint(free, [window], Where.BETWEEN)[1]
    if len(attempts) > 1:
        tried = (windows[0][0], windows[-1][0])  # up to the start of the attempt that counts
        free = layer(made, free, [tried], Where.RETRYING)
    free = layer(made, free, _times(step.of(Part.ITEM)), Where.WORKING)  # side by side, so that one of them runs
    free = layer(made, free, _failed_tries(step), Where.RETRYING)
    free = layer(made, free, _times(step.of(Part.STAGE)), Where.STAGING)
    layer(made, free, [(step.start, step.end)], Where.BETWEEN)
    found[step.span.span_id] = joined(made)
    return found


def _slices_of_attempt(attempt: Branch, window: Stretch) -> Sequence[Slice]:
    submits, waits = _times(attempt.of(Part.SUBMIT)), _times(attempt.of(Part.WAIT))
    submitted = max((end for _, end in submits), default=window[0])
    engines = _engines(attempt)
    ran = [_after(time, submitted) for engine in engines for time in _running(engine)]
    there = [_after((engine.start, engine.end), submitted) for engine in engines]
    if not engines:
        ran = waits  # the engine has told nothing, or not yet
    ended = max((end for _, end in there), default=window[0])
    before_its_end = [(start, min(end, ended)) for start, end in waits] + there
    tries = _failed_tries(attempt)
    free, made = [window], list[Slice]()
    free = layer(made, free, ran, Where.WORKING)
    free = layer(made, free, [_within(time, submit) for time in tries for submit in submits], Where.RETRYING)
    free = layer(made, free, submits, Where.SUBMIT)
    free = layer(made, free, before_its_end, Where.QUEUEING)
    free = layer(made, free, tries, Where.RETRYING)
    free = layer(made, free, _times(attempt.of(Part.STAGE)), Where.STAGING)
    free = layer(made, free, waits, Where.DETECTION)
    layer(made, free, [window], Where.BETWEEN)
    return joined(made)


def _engines(attempt: Branch) -> list[Branch]:
    return [one for child in (attempt, *attempt.of(Part.WAIT)) for one in child.of(Part.ENGINE)]


def _running(engine: Branch) -> list[Stretch]:
    """When nodes ran."""
    nodes = [one for one in engine.walk() if one.part is Part.NODE]
    if not nodes:
        return [(engine.start, engine.end)]
    return _times(one for one in nodes if not one.of(Part.NODE) and not holds_nodes(one.span))


def _failed_tries(above: Branch) -> list[Stretch]:
    """For each activity the time from its first failed try to the end of the last."""
    hulls: dict[str, Stretch] = {}
    for child in (above, *above.of(Part.SUBMIT, Part.WAIT, Part.STAGE)):
        for work in (one for one in child.of(Part.WORK) if has_failed(one.span)):
            what = activity_of(work.span)
            start, end = hulls.get(what, (work.start, work.end))
            hulls[what] = (min(start, work.start), max(end, work.end))
    return list(hulls.values())


def _in_turn(attempts: Sequence[Branch], start: datetime, end: datetime) -> list[Stretch]:
    """Times of attempts within their step, each cut where the next begins."""
    found: list[Stretch] = []
    for number, attempt in enumerate(attempts, 1):
        last = min(attempt.end, end, attempts[number].start if number < len(attempts) else end)
        first = min(max(attempt.start, start), max(last, start))
        found.append((first, max(first, last)))
    return found


def _times(branches: Iterable[Branch]) -> list[Stretch]:
    return [(one.start, one.end) for one in branches]


def _after(time: Stretch, moment: datetime) -> Stretch:
    """A time by the engine's clock; one that seems to begin less than a second too early begins at the moment."""
    start, end = time
    return (moment, max(end, moment)) if _NO_TIME < moment - start < COARSE else time


def _within(time: Stretch, window: Stretch) -> Stretch:
    return max(time[0], window[0]), min(time[1], window[1])
