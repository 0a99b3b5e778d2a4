"""Chooses what a picture of a trace shows, and leaves out the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from meta.trace.analysis import COARSE, WHOSE, Analysis, analyse
from meta.trace.folding import Folded, fold
from meta.trace.model import Part, Span
from meta.trace.picture import LOOKS, Bar, Look, Picture, Row, StepTime, short_time
from meta.trace.reading import attempt_of, has_failed, is_cached, is_group, state_of, step_of
from meta.trace.tree import Branch, forest, run_of
from workflows.errors import NotFound
from workflows.messages import StepSnapshot
from workflows.outcome import StepState
from workflows.suggest import did_you_mean

TOP = 5
"""Equal siblings that are shown by default."""

SKIPPED = StepState.SKIPPED.value
_LEAD = 4  # a cause that came earlier than a fourth of the run's time before it is not on the axis
_ALWAYS = frozenset({Part.STEP, Part.ITEM, Part.ATTEMPT, Part.NODE})


def make_picture(
    spans: Sequence[Span],
    now: datetime,
    *,
    snapshots: Sequence[StepSnapshot] = (),
    step: str = "",
    everything: bool = False,
    top: int = TOP,
) -> Picture:
    """Choose what to show of a run.

    Args:
        spans: of the run.
        now: where a run that goes on ends for now.
        snapshots: its steps in the definition's order, for those that never began.
        step: only this one, over its own time.
        everything: also submits, waits, the engine runs themselves and what only groups nodes, and nothing folded.
        top: see `fold`.

    Raises:
        NotFound: the trace has no run yet, or no such step that began.
    """
    roots = forest(spans, now)
    run = run_of(roots)
    if run is None:
        raise NotFound("the run has no trace yet", hint="it has just been asked for; try again in a moment")
    analysis = analyse(run)
    maker = _Maker(run, analysis, everything=everything, top=0 if everything else top)
    steps = run.of(Part.STEP)
    chosen = [one for one in steps if step in ("", step_of(one.span))]
    if step and not chosen:
        known = [*dict.fromkeys([*(one.name for one in snapshots), *(step_of(one.span) for one in steps)])]
        begun = any(one.name == step for one in snapshots)
        hint = "" if begun else did_you_mean(step, known, what="steps")
        raise NotFound(f"step {step!r} has not begun" if begun else f"no step {step!r}", hint=hint)
    of = chosen[0] if step else run
    cause = next((one for root in roots for one in root.walk() if one.part is Part.CAUSE), None)
    start, lead = (of.start, timedelta(0)) if step else _beginning(run, cause)
    return Picture(
        name=step or run.span.name.removeprefix("run "),
        state=state_of(of.span),
        start=start,
        end=of.end,
        seconds=of.seconds,
        goes_on=of.span.end is None,
        lead=lead,
        whole=analysis.slices[of.span.span_id] if step else analysis.run,
        alone=bool(step),
        path=analysis.path,
        rows=list(maker.rows(of, 0) if step else _all_rows(maker, run, cause, snapshots)),
        steps=[_step_time(one, analysis) for one in chosen if state_of(one.span) != SKIPPED],
        problems=[problem for one in chosen for problem in _problems(one)],
    )


def spans_of_step(spans: Sequence[Span], step: str) -> list[Span]:
    """A step's spans with those that they hang on, so that they are still one tree."""
    ids = {span.span_id for span in spans if span.part is Part.STEP and step_of(span) == step}
    kept: list[Span] = []
    for span in spans:  # parents first
        if span.parent_id in ids or span.span_id in ids:
            ids.add(span.span_id)
            kept.append(span)
        elif span.part in (Part.CAUSE, Part.RUN):
            kept.append(span)
    return kept


def _beginning(run: Branch, cause: Branch | None) -> tuple[datetime, timedelta]:
    lead = run.start - cause.start if cause is not None else timedelta(0)
    return (run.start - lead, timedelta(0)) if lead <= (run.end - run.start) / _LEAD else (run.start, lead)


def _all_rows(maker: _Maker, run: Branch, cause: Branch | None, snapshots: Sequence[StepSnapshot]) -> Iterator[Row]:
    if cause is not None:
        yield maker.row(cause, 0)
    yield maker.row(run, 0)
    steps = run.of(Part.STEP)
    begun = {step_of(one.span) for one in steps}
    waiting = [one for one in snapshots if one.name not in begun]
    order = [one.name for one in snapshots]
    for at, one in enumerate(steps):
        yield from maker.rows(one, 1)
        later = {step_of(other.span) for other in steps[at + 1 :]}
        while waiting and not later & set(order[: order.index(waiting[0].name)]):
            yield _never_began(waiting.pop(0))
    for snapshot in waiting:
        yield _never_began(snapshot)


def _never_began(snapshot: StepSnapshot) -> Row:
    return Row(1, snapshot.name, state=snapshot.state.value)


_BY_PART = {Part.NODE: Look.WORKING, Part.SUBMIT: Look.OURS, Part.STAGE: Look.OURS, Part.WORK: Look.OURS}


class _Maker:
    def __init__(self, run: Branch, analysis: Analysis, *, everything: bool, top: int) -> None:
        places = [place for step in run.of(Part.STEP) for place in (step, *step.of(Part.ITEM))]
        attempts = (one for place in places for one in place.of(Part.ATTEMPT))
        self._begun = {one.span.span_id: attempt.start for attempt in attempts for one in attempt.walk()}
        self._analysis = analysis
        self._everything = everything
        self._top = top

    def rows(self, branch: Branch, depth: int) -> Iterator[Row]:
        """A branch and what is to be shown below it."""
        waiting: list[tuple[Branch | Folded, int]] = [(branch, depth)]
        while waiting:
            one, at = waiting.pop()
            if isinstance(one, Folded):
                yield _folded_row(one, at)
                continue
            yield self.row(one, at)
            below = fold(self._shown_below(one), self._analysis.path, self._top)
            waiting += [(child, at + 1) for child in reversed(below)]

    def row(self, branch: Branch, depth: int) -> Row:
        """One row, without what is below it."""
        span = branch.span
        return Row(
            depth=depth,
            label=_label(branch),
            state="" if branch.part in (Part.CAUSE, Part.WAIT, Part.STAGE, Part.ENGINE) else state_of(span),
            note=_note(branch),
            bars=self._bars(branch) if state_of(span) != SKIPPED else (),
            seconds=branch.seconds if state_of(span) != SKIPPED else None,
            critical=span.span_id in self._analysis.path,
            failed=has_failed(span),
            span=span,
        )

    def _shown_below(self, branch: Branch) -> list[Branch]:
        """What stands below in the picture: the rows between that say nothing are left out."""
        if self._everything:
            return branch.below
        shown: list[Branch] = []
        attempts = len(branch.of(Part.ATTEMPT)) if branch.part in (Part.STEP, Part.ITEM) else 0
        for child in branch.below:
            through = (
                child.part not in _ALWAYS or is_group(child.span) or (child.part is Part.ATTEMPT and attempts == 1)
            )
            only_node = branch.part is Part.ENGINE and child.below and len(branch.of(Part.NODE)) == 1
            shown += self._shown_below(child) if through or only_node else [child]
        return sorted(shown, key=lambda one: one.start)

    def _bars(self, branch: Branch) -> list[Bar]:
        slices = self._analysis.run if branch.part is Part.RUN else self._analysis.slices.get(branch.span.span_id)
        if slices is not None:
            return [Bar(one.start, one.end, LOOKS[WHOSE[one.where]]) for one in slices]
        begun = self._begun.get(branch.span.span_id, branch.start)  # what engines cut to seconds seems to come before
        cut = timedelta(0) < begun - branch.start < COARSE
        return [Bar(min(begun, branch.end) if cut else branch.start, branch.end, _look(branch))]


def _look(branch: Branch) -> Look:
    if branch.part is Part.NODE and branch.of(Part.NODE):
        return Look.HOLDER
    if has_failed(branch.span):
        return Look.FAILED
    if is_cached(branch.span):
        return Look.CACHED
    return _BY_PART.get(branch.part or Part.WAIT, Look.HOLDER)


def _label(branch: Branch) -> str:
    match branch.part:
        case Part.STEP:
            return step_of(branch.span)
        case Part.ATTEMPT:
            number = attempt_of(branch.span)
            return f"attempt {number}" if number else branch.span.name
        case _:
            return branch.span.name


def _note(branch: Branch) -> str:
    if branch.part is Part.STEP and (items := len(branch.of(Part.ITEM))):
        return f"{items} items"
    if branch.part in (Part.STEP, Part.ITEM) and (attempts := len(branch.of(Part.ATTEMPT))) > 1:
        return f"{attempts} attempts"
    return "cached" if is_cached(branch.span) else ""


def _folded_row(one: Folded, depth: int) -> Row:
    states = ", ".join(f"{count:,} {state}" for state, count in one.states.items())
    times = f"{short_time(one.shortest)} to {short_time(one.longest)}"
    return Row(depth, f"… {one.count:,} more: {states}, {times}", bars=[Bar(one.start, one.end, Look.FOLDED)])


def _step_time(step: Branch, analysis: Analysis) -> StepTime:
    span_id = step.span.span_id
    return StepTime(step_of(step.span), step.seconds, analysis.slices[span_id], span_id in analysis.path)


def _problems(step: Branch) -> Iterator[tuple[str, str]]:
    """Each failure once: where a node says why, what holds it only repeats it."""
    name = step_of(step.span)
    said: set[str] = set()
    for one in reversed(list(step.walk())):
        words = one.span.message.strip()
        if has_failed(one.span) and words and not any(words in before or before in words for before in said):
            said.add(words)
            where = _label(one)
            yield (name if one is step else f"{name}, {where}"), words
