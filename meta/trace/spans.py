"""From what the store knows of a run to the spans of its trace: a pure function, so that a repeat gives the same."""

from __future__ import annotations

from collections.abc import Iterator

from meta.trace.model import PART, Part, Span
from meta.trace.record import RunRecord
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.trace import cause_span_id, span_id, trace_id


def run_spans(record: RunRecord) -> list[Span]:
    """All spans of a run, parents before their children; those that go on have no end.

    The first is short: the cause, from when it came to the start of the run. All others are below it, the run's own
    span too, so that a trace is whole at any time: a parent is never told after its children.
    """
    run = record.run
    if run.started_at is None:
        return []
    return [_cause(run), _run(run), *_steps(run)]


def _cause(run: RunSnapshot) -> Span:
    assert run.started_at is not None
    cause = run.cause
    start = min(cause.at, run.started_at) if cause is not None and cause.at is not None else run.started_at
    return Span(
        trace_id=trace_id(run.id, run.trace),
        span_id=span_id(run.id, "cause"),
        parent_id=cause_span_id(run.trace),
        name=cause.name if cause is not None else f"start {run.workflow}",
        start=start,
        end=run.started_at,
        attributes={PART: Part.CAUSE.value},
    )


def _run(run: RunSnapshot) -> Span:
    assert run.started_at is not None
    return Span(
        trace_id=trace_id(run.id, run.trace),
        span_id=span_id(run.id, "run"),
        parent_id=span_id(run.id, "cause"),
        name=f"run {run.workflow}",
        start=run.started_at,
        end=run.finished_at,
        attributes={PART: Part.RUN.value},
    )


def _steps(run: RunSnapshot) -> Iterator[Span]:
    for step in run.steps:
        if step.started_at is not None:
            yield _step(run, step)


def _step(run: RunSnapshot, step: StepSnapshot) -> Span:
    assert step.started_at is not None
    return Span(
        trace_id=trace_id(run.id, run.trace),
        span_id=span_id(run.id, "step", step.name),
        parent_id=span_id(run.id, "cause"),
        name=f"step {step.name}",
        start=step.started_at,
        end=step.finished_at,
        attributes={PART: Part.STEP.value},
    )
