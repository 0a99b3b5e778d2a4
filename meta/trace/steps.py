"""The spans of one step, down to the nodes of its engine runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from meta.trace import attributes as names
from meta.trace.attempts import Place, attempt_spans
from meta.trace.making import GOOD, UNJUDGED, Trace, Verdict, exception_of
from meta.trace.model import Attribute, Part, Span, SpanEvent
from meta.trace.record import AttemptRecord, WorkRecord
from meta.trace.work import work_spans
from workflows.messages import Activity, StepRole, StepSnapshot
from workflows.outcome import StepState
from workflows.spec.steps import ENGINE_KINDS

RESULTS = {
    StepState.SUCCEEDED: "success",
    StepState.FAILED: "failure",
    StepState.LOST: "error",
    StepState.TIMED_OUT: "timeout",
    StepState.CANCELLED: "cancellation",
    StepState.SKIPPED: "skip",
}
"""In the words of `cicd.pipeline.task.run.result`."""


def step_spans(
    trace: Trace, step: StepSnapshot, attempts: Sequence[AttemptRecord], work: Sequence[WorkRecord]
) -> Iterator[Span]:
    """A step and all below it; nothing for one that has not begun.

    A step that was skipped, or that its run's end came before, has a span without length.
    """
    end = _end(trace, step)
    begun = [
        step.started_at,
        *(one.started_at for one in work),
        *(attempt.asked_at or attempt.submitted_at for attempt in attempts),
    ]
    start = min((at for at in begun if at is not None), default=end)
    if start is None:
        return
    own = trace.id_of("step", step.name)
    taken = step.taken_from
    yield trace.span(
        Part.STEP,
        own,
        trace.id_of("cause"),
        f"step {step.name}",
        (start, end),
        verdict=_verdict(step, end),
        attributes={
            names.STEP: step.name,
            names.STEP_ROLE: None if step.role is StepRole.STEP else step.role.value,
            names.STEP_CONTINUED: step.continued or None,
            names.STEP_STATE: step.state.value,
            names.STEP_NOTE: step.note,
            names.MESSAGE: step.message,
            names.ATTEMPTS: step.attempt or None,
            names.ENGINE: step.engine,
            names.ENGINE_KIND: step.kind.value,
            names.PIPELINE_NAME: trace.run.workflow,
            names.PIPELINE_RUN_ID: trace.run.id,
            names.TASK_NAME: step.name,
            names.TASK_RUN_ID: own,
            names.TASK_RUN_RESULT: RESULTS.get(step.state),
            names.TASK_RUN_URL: step.run.url if step.run is not None else None,
            names.TAKEN_HOW: taken.how if taken is not None else None,
            names.TAKEN_RUN: taken.run if taken is not None else None,
            names.TAKEN_STEP: taken.step if taken is not None else None,
        },
        events=list(_approval(step, start)),
        links=trace.links_to(taken.run, "step", taken.step) if taken is not None else (),
    )
    before = [one for one in work if not one.key.attempt]
    staging = [one for one in before if one.what == Activity.STAGE]
    if staging:
        yield from _stage(trace, step, own, staging, end if end is not None or step.attempt == 0 else start)
    yield from work_spans(trace, own, (one for one in before if one.what != Activity.STAGE))
    later = [one for one in work if one.key.attempt]
    if step.kind in ENGINE_KINDS or attempts:
        yield from attempt_spans(trace, Place(step, own, start, end), attempts, later)
    else:  # its attempts, if it has several, are nobody's engine runs
        yield from work_spans(trace, own, later)


def _approval(step: StepSnapshot, start: datetime) -> Iterator[SpanEvent]:
    """That a step asked, and who decided what."""
    if (asked := step.asked) is not None:
        told: dict[str, Attribute | None] = {
            names.PROMPT: asked.prompt,
            names.DIGEST: asked.digest,
            names.APPROVERS: asked.approvers or None,
        }
        yield SpanEvent("asked", step.started_at or start, names.given(told))
    if (decision := step.decision) is not None:
        told = {
            names.APPROVED: decision.approved,
            names.DECIDED_BY: decision.by,
            names.REASON: decision.reason,
            names.DIGEST: decision.digest,
        }
        yield SpanEvent("decided", decision.at, names.given(told))


def _end(trace: Trace, step: StepSnapshot) -> datetime | None:
    """When it ended, at the latest with its run; None while it goes on."""
    if step.state.ended and step.finished_at is not None:
        return step.finished_at
    if step.state.ended:
        return trace.end or step.started_at or trace.start
    return trace.end


def _verdict(step: StepSnapshot, end: datetime | None) -> Verdict:
    if step.state is StepState.SUCCEEDED:
        return GOOD
    if step.state is StepState.SKIPPED or end is None:
        return UNJUDGED
    if not step.state.ended:
        return Verdict.failed("not ended when its run ended", step.state.value)
    return Verdict.failed(step.message or step.state.value, step.state.value)


def _stage(
    trace: Trace, step: StepSnapshot, parent: str, tries: Sequence[WorkRecord], over: datetime | None
) -> Iterator[Span]:
    """The copying of a step's artifacts, all tries together.

    Args:
        trace: whose it is.
        step: whose artifacts.
        parent: the step's span.
        tries: at least one.
        over: when nothing was copied any more at the latest; None when it goes on unless a try has succeeded.
    """
    failing = [one for one in tries if one.code]
    done = next((one for one in tries if not one.code), None)
    last = max(one.ended_at for one in tries)
    own = trace.id_of("stage", step.name)
    verdict = UNJUDGED
    if done is None and over is not None:
        verdict = Verdict.failed(failing[-1].message, failing[-1].code)
    yield trace.span(
        Part.STAGE,
        own,
        parent,
        "stage",
        (
            min(one.started_at for one in tries),
            done.ended_at if done is not None else last if over is not None else None,
        ),
        verdict=verdict,
        attributes={
            names.STEP: step.name,
            names.ENGINE: step.engine,
            names.TRIES: max(one.number for one in tries),
            names.WORKER: done.worker if done is not None else None,
        },
        events=[exception_of(one) for one in failing],
    )
    yield from work_spans(trace, own, failing)
