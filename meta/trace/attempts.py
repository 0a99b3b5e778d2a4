"""The attempts of a step: when each began and ended, and its spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from meta.trace import attributes as names
from meta.trace.engine_runs import engine_spans, share_out
from meta.trace.making import GOOD, UNJUDGED, Trace, Verdict, exception_of
from meta.trace.model import Attribute, Part, Span, SpanEvent, SpanKind
from meta.trace.record import AttemptRecord, WorkRecord
from meta.trace.work import work_spans
from workflows.messages import Activity, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import StepState

MAX_ITEMS = 500
"""Items of a step that have spans; more would be no picture, and no answer that gRPC takes."""

SUBMITS: tuple[str, ...] = (Activity.SUBMIT, Activity.RESUME)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, with an engine run or without: the submit may have been refused, or cut short.

    Attributes:
        number_of_last: of the attempts at this place, so that the step's own word counts for the last one.
        end: None while it goes on.
        resumed: its engine run is the one of the attempt before.
    """

    key: RunKey
    record: AttemptRecord | None
    work: Sequence[WorkRecord]
    start: datetime
    end: datetime | None
    is_last: bool
    resumed: bool

    def tries(self, *what: str) -> list[WorkRecord]:
        """Tries of these activities that failed."""
        return [one for one in self.work if one.what in what and one.code]


@dataclass(frozen=True, slots=True)
class Place:
    """Where attempts are: the step, the id of its span, and that's times."""

    step: StepSnapshot
    span: str
    start: datetime
    end: datetime | None


def attempt_spans(
    trace: Trace, place: Place, records: Sequence[AttemptRecord], work: Sequence[WorkRecord]
) -> Iterator[Span]:
    """All attempts of a step.

    Args:
        trace: whose they are.
        place: whose they are.
        records: of attempts that have an engine run.
        work: tries of activities for attempts.
    """
    by_key = {record.key: record for record in records}
    tries: dict[RunKey, list[WorkRecord]] = {}
    for one in work:
        tries.setdefault(one.key, []).append(one)
    step = place.step
    begun = [RunKey(meta_run=trace.run.id, step=step.name, attempt=n + 1) for n in range(step.attempt)]
    begun = begun if step.items is None else []
    by_index: dict[int, list[RunKey]] = {}
    for key in sorted(dict.fromkeys([*by_key, *tries, *begun]), key=lambda key: (key.index, key.attempt)):
        by_index.setdefault(key.index, []).append(key)
    for index in _drawn(by_index, by_key):
        attempts = _attempts(place, by_index[index], by_key, tries)
        parent = place.span
        if index:
            item = _item(trace, step, attempts, place.span)
            parent = item.span_id
            yield item
        shares = share_out([attempt.record for attempt in attempts])
        for attempt, share in zip(attempts, shares, strict=True):
            own = trace.id_of("attempt", step.name, attempt.key.index, attempt.key.attempt)
            yield _attempt(trace, step, attempt, own, parent)
            yield from _submit(trace, step, attempt, own)
            yield from _wait(trace, step, attempt, own)
            if attempt.record is not None and share is not None:
                yield from engine_spans(trace, attempt.record, share, own, (attempt.start, attempt.end))
            yield from work_spans(trace, own, (one for one in attempt.work if not _has_place(one)))


def _drawn(by_index: dict[int, list[RunKey]], records: dict[RunKey, AttemptRecord]) -> list[int]:
    """Which items have spans: all, or of more than `MAX_ITEMS` those that failed and then the first ones."""
    if len(by_index) <= MAX_ITEMS:
        return list(by_index)

    def succeeded(index: int) -> bool:
        last = records.get(by_index[index][-1])
        return last is not None and last.failure is None

    return sorted(sorted(by_index, key=lambda index: (succeeded(index), index))[:MAX_ITEMS])


def _item(trace: Trace, step: StepSnapshot, attempts: Sequence[Attempt], parent: str) -> Span:
    """An item of a fan-out, over all its attempts."""
    first, last = attempts[0], attempts[-1]
    return trace.span(
        Part.ITEM,
        trace.id_of("item", step.name, first.key.index),
        parent,
        f"{step.name}[{first.key.index - 1}]",
        (first.start, last.end),
        verdict=_verdict(step, last),
        attributes={**_of(step, last), names.ATTEMPT: None, names.ATTEMPTS: len(attempts)},
    )


def _attempts(
    place: Place,
    keys: Sequence[RunKey],
    records: dict[RunKey, AttemptRecord],
    tries: dict[RunKey, list[WorkRecord]],
) -> list[Attempt]:
    """When each began and ended. Where nobody says so, an attempt lasts until the next one, or the step's end."""
    starts: list[datetime] = []
    for key in keys:
        record, own = records.get(key), tries.get(key, [])
        told = [
            record.asked_at if record is not None else None,
            place.step.started_at if key.attempt == 1 else None,
            min((one.started_at for one in own), default=None),
            record.submitted_at if record is not None else None,
            record.engine_started_at if record is not None else None,
            starts[-1] if starts else None,
        ]
        starts.append(next((at for at in told if at is not None), place.start))
    found: list[Attempt] = []
    for at, key in enumerate(keys):
        record, own = records.get(key), tries.get(key, [])
        is_last = at == len(keys) - 1
        before = found[-1].record if found else None
        found.append(
            Attempt(
                key=key,
                record=record,
                work=own,
                start=starts[at],
                end=_end(record, own, place.end if is_last else starts[at + 1]),
                is_last=is_last,
                resumed=record is not None and before is not None and record.ref.uid == before.ref.uid,
            )
        )
    return found


def _end(record: AttemptRecord | None, work: Sequence[WorkRecord], limit: datetime | None) -> datetime | None:
    """When an attempt ended: its end was seen, or it was cut, or a call failed for good, or it must have by then."""
    if record is not None and record.seen_at is not None:
        return record.seen_at
    if limit is None:
        return None
    cut = [one.ended_at for one in work if one.what == Activity.TERMINATE and not one.code]
    if cut:
        return max(cut)
    decisive = (Activity.WAIT,) if record is not None else SUBMITS
    refused = [one.ended_at for one in work if one.what in decisive and one.code]
    return max(refused, default=limit)


def _attempt(trace: Trace, step: StepSnapshot, attempt: Attempt, own: str, parent: str) -> Span:
    key, record = attempt.key, attempt.record
    others = [
        SpanEvent(
            "other engine run ended",
            other.at,
            {names.ENGINE_RUN_NAME: other.ref.name, names.ENGINE_RUN_UID: other.ref.uid},
        )
        for other in step.other_runs
        if other.attempt == key.attempt and key.index == 0
    ]
    return trace.span(
        Part.ATTEMPT,
        own,
        parent,
        f"attempt {key.attempt}",
        (attempt.start, attempt.end),
        verdict=_verdict(step, attempt),
        attributes={
            **_of(step, attempt),
            names.RESUMED: True if attempt.resumed else None,
            names.FAILURE: record.failure.value if record is not None and record.failure is not None else None,
        },
        events=others,
    )


def _verdict(step: StepSnapshot, attempt: Attempt) -> Verdict:
    record = attempt.record
    if attempt.end is None:
        return UNJUDGED
    if record is not None and record.failure is not None:
        return Verdict.failed(record.message or record.failure.value, record.failure.value)
    if (record is not None and record.ended_at is not None) or (attempt.is_last and step.state is StepState.SUCCEEDED):
        return GOOD
    if attempt.is_last and step.state.ended:
        return Verdict.failed(step.message or step.state.value, step.state.value)
    failing = [one for one in attempt.work if one.code]
    if failing:
        return Verdict.failed(failing[-1].message, failing[-1].code)
    return Verdict.failed("it was over before its end was seen", "")


def _submit(trace: Trace, step: StepSnapshot, attempt: Attempt, parent: str) -> Iterator[Span]:
    """From when the workflow wanted the engine run to its adoption, all tries together."""
    key, record = attempt.key, attempt.record
    failing = attempt.tries(*SUBMITS)
    verdict, end = UNJUDGED, record.submitted_at if record is not None else None
    if record is None or end is None:
        end = attempt.end
        if record is None and end is not None and failing:
            verdict = Verdict.failed(failing[-1].message, failing[-1].code)
        elif record is None and end is not None:
            verdict = Verdict.failed("it was over before there was an engine run", "")
    own = trace.id_of("submit", key.step, key.index, key.attempt)
    yield trace.span(
        Part.SUBMIT,
        own,
        parent,
        "resume" if attempt.resumed else "submit",
        (attempt.start, end),
        verdict=verdict,
        kind=SpanKind.CLIENT,
        attributes={
            **_of(step, attempt),
            names.TRIES: max([record.tries if record is not None else 0, *(one.number for one in failing)]) or None,
        },
        events=[exception_of(one) for one in failing],
    )
    yield from work_spans(trace, own, failing)


def _wait(trace: Trace, step: StepSnapshot, attempt: Attempt, parent: str) -> Iterator[Span]:
    """From the adoption of the engine run until its end was seen."""
    key, record = attempt.key, attempt.record
    if record is None:
        return
    failing = attempt.tries(Activity.WAIT)
    verdict = UNJUDGED
    if failing and record.seen_at is None and attempt.end is not None:
        verdict = Verdict.failed(failing[-1].message, failing[-1].code)
    own = trace.id_of("wait", key.step, key.index, key.attempt)
    yield trace.span(
        Part.WAIT,
        own,
        parent,
        "wait",
        (record.submitted_at or attempt.start, attempt.end),
        verdict=verdict,
        kind=SpanKind.CLIENT,
        attributes=_of(step, attempt),
        events=[exception_of(one) for one in failing],
    )
    yield from work_spans(trace, own, failing)


def _has_place(work: WorkRecord) -> bool:
    """Whether it is below the attempt's submit or wait."""
    return bool(work.code) and work.what in (*SUBMITS, Activity.WAIT)


def _of(step: StepSnapshot, attempt: Attempt) -> dict[str, Attribute | None]:
    ref = attempt.record.ref if attempt.record is not None else None
    return {
        names.STEP: step.name,
        names.ATTEMPT: attempt.key.attempt,
        names.INDEX: attempt.key.index or None,
        names.ENGINE: ref.engine if ref is not None else step.engine,
        names.ENGINE_KIND: ref.kind.value if ref is not None else step.kind.value,
        names.ENGINE_RUN_NAME: ref.name if ref is not None else None,
        names.ENGINE_RUN_UID: ref.uid if ref is not None else None,
    }
