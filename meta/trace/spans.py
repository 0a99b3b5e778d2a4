"""From what the store knows of a run to the spans of its trace: a pure function, so that a repeat gives the same.

cause                      short: from when it came to the start of the run
├── run                    with tries that failed to work out its outputs
└── step                   for each step that has begun or ended
    ├── stage              artifacts are copied to where the engine reads them
    └── attempt
        ├── submit         with its tries that failed
        ├── wait           the same
        └── engine         the engine run, by the engine's clock
            └── node ...   nested as the engine nests them
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from opentelemetry import baggage as otel_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

from meta.trace import attributes as names
from meta.trace.making import GOOD, UNJUDGED, Trace, Verdict
from meta.trace.model import Attribute, Part, Span, SpanKind
from meta.trace.record import AttemptRecord, RunRecord, WorkRecord
from meta.trace.steps import step_spans
from meta.trace.work import work_spans
from workflows.outcome import RunState
from workflows.trace import BAGGAGE, cause_span_id

_KINDS = {"grpc": SpanKind.SERVER, "nats": SpanKind.CONSUMER, "bridge": SpanKind.CONSUMER}
_RESULTS = {
    RunState.SUCCEEDED: "success",
    RunState.FAILED: "failure",
    RunState.CANCELED: "cancellation",
    RunState.TERMINATED: "error",
}


def run_spans(record: RunRecord, baggage: Collection[str] = ()) -> list[Span]:
    """All spans of a run, parents before their children; those that go on have no end.

    The first is short: the cause, from when it came to the start of the run. All others are below it, the run's own
    span too, so that a trace is whole at any time: a parent is never told after its children.

    Args:
        record: what the store knows.
        baggage: keys of the cause's W3C baggage that the cause and the run have as attributes, under `baggage.`.

    Returns:
        Nothing for a run that is not known to have started.
    """
    run = record.run
    if run.started_at is None:
        return []
    trace = Trace.of(run, run.started_at, record.others)
    attempts: dict[str, list[AttemptRecord]] = {}
    for attempt in record.attempts:
        attempts.setdefault(attempt.key.step, []).append(attempt)
    known = {step.name for step in run.steps}
    work: dict[str, list[WorkRecord]] = {}
    for one in record.work:
        work.setdefault(one.key.step if one.key.step in known else "", []).append(one)
    carried = _baggage(run.trace.get(BAGGAGE, ""), baggage)
    spans = [_cause(trace, carried), *_run(trace, carried, work.get("", []))]
    for step in run.steps:
        spans += step_spans(trace, step, attempts.get(step.name, []), work.get(step.name, []))
    return spans


def _cause(trace: Trace, carried: dict[str, Attribute]) -> Span:
    run, cause = trace.run, trace.run.cause
    return trace.span(
        Part.CAUSE,
        trace.id_of("cause"),
        cause_span_id(run.trace),
        cause.name if cause is not None else f"start {run.workflow}",
        (min(cause.at, trace.start) if cause is not None and cause.at is not None else trace.start, trace.start),
        kind=_KINDS.get(cause.kind, SpanKind.INTERNAL) if cause is not None else SpanKind.INTERNAL,
        attributes={
            names.WORKFLOW: run.workflow,
            names.TRIGGER: run.trigger,
            names.REQUEST_ID: run.request_id,
            names.CAUSE_KIND: cause.kind if cause is not None else None,
            **(cause.attributes if cause is not None else {}),
            **carried,
        },
    )


def _run(trace: Trace, carried: dict[str, Attribute], work: list[WorkRecord]) -> Iterator[Span]:
    run, own = trace.run, trace.id_of("run")
    verdict = UNJUDGED
    if run.state is RunState.SUCCEEDED:
        verdict = GOOD
    elif run.state.ended:
        verdict = Verdict.failed(run.message or run.state.value, run.state.value)
    yield trace.span(
        Part.RUN,
        own,
        trace.id_of("cause"),
        f"run {run.workflow}",
        (trace.start, trace.end),
        verdict=verdict,
        attributes={
            names.WORKFLOW: run.workflow,
            names.RUN_STATE: run.state.value,
            names.BUNDLE: run.bundle_digest,
            names.TRIGGER: run.trigger,
            names.REQUEST_ID: run.request_id,
            names.PIPELINE_NAME: run.workflow,
            names.PIPELINE_RUN_ID: run.id,
            names.PIPELINE_RESULT: _RESULTS.get(run.state),
            names.RETRY_OF: run.retry_of,
            **carried,
        },
        links=trace.links_to(run.retry_of, "run"),
    )
    yield from work_spans(trace, own, work)


def _baggage(text: str, keys: Collection[str]) -> dict[str, Attribute]:
    if not text or not keys:
        return {}
    found = otel_baggage.get_all(W3CBaggagePropagator().extract({BAGGAGE: text}))
    return {f"{names.BAGGAGE_PREFIX}{key}": str(found[key]) for key in sorted(set(keys)) if key in found}
