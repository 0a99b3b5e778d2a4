"""What a trace tells, and in which words."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.attributes import (
    cicd_attributes,
    error_attributes,
    exception_attributes,
    k8s_attributes,
    process_attributes,
    url_attributes,
)

from meta.trace import attributes as names
from meta.trace.model import Link, Part, Span, SpanKind, Status
from meta.trace.spans import run_spans
from tests.support.traces import path_of
from tests.unit.trace.support import at, attempt, key, node, of, only, record, step, tried
from workflows.messages import Activity, Cause
from workflows.outcome import FailureClass, RunState, StepState
from workflows.trace import engine_span_id

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
DOWN = "ENGINE_UNAVAILABLE"


def times(span: Span) -> tuple[float, float | None]:
    """In seconds after the start of the run."""
    start = (span.start - at(0)).total_seconds()
    return start, None if span.end is None else (span.end - at(0)).total_seconds()


def named(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_an_attempt_has_a_submit_a_wait_and_the_engine_run_by_the_engines_clock() -> None:
    pod = node("n", 2, 6, parent="root", exit_code=0, pod="chain-u1-main-1")
    one = attempt(
        key=key(), asked=1, submitted=3.5, engine=(2, 7), seen=8.25, nodes=[node("root", 2, 7, type="DAG"), pod]
    )
    spans = run_spans(record(step(), attempts=[one]))
    parts = (Part.CAUSE, Part.RUN, Part.STEP, Part.ATTEMPT, Part.SUBMIT, Part.WAIT, Part.ENGINE)
    assert {part: times(only(spans, part)) for part in parts} == {
        Part.CAUSE: (0, 0), Part.RUN: (0, 10), Part.STEP: (1, 9), Part.ATTEMPT: (1, 8.25), Part.SUBMIT: (1, 3.5),
        Part.WAIT: (3.5, 8.25), Part.ENGINE: (2, 7),
    }  # fmt: skip
    inner = named(spans, "name of n")
    assert path_of(inner, spans) == [
        "start chain", "step train", "attempt 1", "run on argo", "name of root", "name of n",
    ]  # fmt: skip
    assert times(inner) == (2, 6)
    engine = only(spans, Part.ENGINE)
    assert engine.span_id == engine_span_id(key()), "code in pods hangs its spans there"
    wanted = {
        "meta.engine.name": "argo", "meta.engine.kind": "argo", "meta.engine.run.name": "chain-u1",
        "meta.engine.run.uid": "u1", "meta.engine.run.phase": "Succeeded", "k8s.namespace.name": "ml",
        "url.full": "http://ui/u1", "meta.nodes": 2,
    }  # fmt: skip
    assert wanted.items() <= engine.attributes.items()
    assert {"k8s.pod.name": "chain-u1-main-1", "process.exit.code": 0, "meta.node.id": "n"}.items() <= (
        inner.attributes.items()
    )
    assert [(event.name, event.at) for event in inner.events] == [("Succeeded", at(6))]
    assert {span.status for span in spans} == {Status.OK, Status.UNSET}
    assert only(spans, Part.SUBMIT).kind is SpanKind.CLIENT


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("grpc", SpanKind.SERVER), ("nats", SpanKind.CONSUMER), ("bridge", SpanKind.CONSUMER), ("schedule", "internal")],
)
def test_the_root_goes_on_from_whoever_caused_the_run_and_has_their_words(kind: str, expected: str) -> None:
    cause = Cause(kind=kind, name="the cause", at=at(-2), attributes={"rpc.method": "Start"})
    trace = {"traceparent": PARENT, "baggage": "team=vision%20lab,secret=x"}
    root, *spans = run_spans(record(step(), cause=cause, trace=trace), baggage=["team", "user"])
    assert (root.trace_id, root.parent_id, root.name, root.kind) == ("a" * 32, "b" * 16, "the cause", expected)
    assert times(root) == (-2, 0)
    assert root.attributes["rpc.method"] == "Start"
    for span in (root, only(spans, Part.RUN)):
        assert {k: v for k, v in span.attributes.items() if k.startswith("baggage.")} == {"baggage.team": "vision lab"}


def test_tries_that_failed_are_events_of_what_was_tried_and_spans_below_it() -> None:
    work = [
        tried(key(), Activity.SUBMIT, 1, 1, 1.5, code=DOWN),
        tried(key(), Activity.SUBMIT, 2, 2, 2.5, code="ENGINE_FULL"),
        tried(key(), Activity.WAIT, 1, 4, 5, code=DOWN),
    ]
    one = attempt(key=key(), asked=1, submitted=3, engine=(3, 7), seen=8)
    spans = run_spans(record(step(), attempts=[one], work=work))
    submit, wait = only(spans, Part.SUBMIT), only(spans, Part.WAIT)
    assert [(e.name, e.at, e.attributes["exception.type"]) for e in submit.events] == [
        ("exception", at(1.5), DOWN), ("exception", at(2.5), "ENGINE_FULL"),
    ]  # fmt: skip
    assert submit.status is Status.UNSET, "it was adopted in the end"
    tries = of(spans, Part.WORK)
    assert [(t.parent_id, times(t)) for t in tries] == [
        (submit.span_id, (1, 1.5)), (submit.span_id, (2, 2.5)), (wait.span_id, (4, 5)),
    ]  # fmt: skip
    assert {(t.status, t.attributes["error.type"]) for t in tries} == {(Status.ERROR, c) for c in (DOWN, "ENGINE_FULL")}


def test_a_refused_submit_is_an_attempt_without_an_engine_run() -> None:
    work = [tried(key(), Activity.SUBMIT, 1, 2, 3, code="ENGINE_REJECTED")]
    spans = run_spans(record(step(state=StepState.FAILED, message="no such template"), work=work))
    refused, submit = only(spans, Part.ATTEMPT), only(spans, Part.SUBMIT)
    assert (times(refused), refused.status, refused.message) == ((1, 3), Status.ERROR, "no such template")
    assert (submit.status, submit.attributes["error.type"]) == (Status.ERROR, "ENGINE_REJECTED")
    assert of(spans, Part.ENGINE) == []


def test_a_resumed_engine_run_shows_each_node_in_the_attempt_that_ran_it() -> None:
    kept = node("kept", 2, 3, parent="root")
    first = attempt(
        key=key(), asked=1, submitted=2, engine=(2, 4), seen=4.5, failure=FailureClass.FAILED, message="exit 1",
        nodes=[node("root", 2, 4, type="DAG", phase="Failed"), kept, node("bad", 3, 4, parent="root", phase="Failed")],
    )  # fmt: skip
    second = attempt(
        key=key(attempt=2), asked=6, submitted=6.5, engine=(2, 9), seen=9.5,
        nodes=[node("root", 2, 9, type="DAG"), kept, node("bad", 7, 9, parent="root")],
    )  # fmt: skip
    spans = run_spans(record(step(attempts=2), attempts=[first, second]))
    one, two = of(spans, Part.ENGINE)
    assert (times(one), times(two)) == ((2, 4), (6.5, 9)), "KFP keeps the start; the second part began with the resume"
    assert [(n.name, n.attributes["meta.attempt"], times(n), n.status) for n in of(spans, Part.NODE)] == [
        ("name of root", 1, (2, 4), Status.ERROR), ("name of kept", 1, (2, 3), Status.OK),
        ("name of bad", 1, (3, 4), Status.ERROR),
        ("name of root", 2, (6.5, 9), Status.OK), ("name of bad", 2, (7, 9), Status.OK),
    ]  # fmt: skip
    assert [s.name for s in of(spans, Part.SUBMIT)] == ["submit", "resume"]
    assert [s.attributes.get("meta.attempt.resumed") for s in of(spans, Part.ATTEMPT)] == [None, True]


def test_a_node_of_a_resumed_run_starts_with_it_where_nobody_knows_the_times() -> None:
    first = attempt(key=key())
    late = attempt(key=key(attempt=2), nodes=[node("a", None, -1)])
    spans = run_spans(record(step(attempts=2), attempts=[first, late]))
    resumed = of(spans, Part.ENGINE)[1]
    (found,) = of(spans, Part.NODE)
    assert (found.parent_id, found.start) == (resumed.span_id, resumed.start)


def test_a_node_of_a_run_that_nobody_saw_fail_goes_to_the_attempt_in_which_it_ran() -> None:
    lost = attempt(key=key(), asked=1, submitted=2, engine=(None, 4), seen=4, failure=FailureClass.LOST)
    again = attempt(
        key=key(attempt=2), asked=6, submitted=6, engine=(2, 9), seen=9, nodes=[node("a", 2, 3), node("b", 7, 9)]
    )
    spans = run_spans(record(step(attempts=2), attempts=[lost, again]))
    assert [(n.name, n.attributes["meta.attempt"]) for n in of(spans, Part.NODE)] == [
        ("name of a", 1), ("name of b", 2),
    ]  # fmt: skip


def test_the_engines_own_retries_are_events_of_what_it_tried_again() -> None:
    nodes = [
        node("retry", 2, 7, type="Retry"),
        node("try-1", 5, 7, parent="retry"),
        node("try-0", 2, 4, parent="retry", phase="Failed", message="OOM", exit_code=137),
    ]
    spans = run_spans(record(step(), attempts=[attempt(key=key(), submitted=1, engine=(2, 7), seen=8, nodes=nodes)]))
    retried = next(event for event in named(spans, "name of retry").events if event.name == "retry")
    assert (retried.at, dict(retried.attributes)) == (
        at(4),
        {"meta.node.id": "try-0", "meta.node.phase": "Failed", "meta.message": "OOM", "process.exit.code": 137},
    )
    assert named(spans, "name of try-0").status is Status.ERROR


def test_nodes_without_times_and_without_a_known_parent_are_there_all_the_same() -> None:
    nodes = [node("a"), node("b", 3, parent="gone"), node("c", parent="d"), node("d", 3, 4, parent="c")]
    spans = run_spans(record(step(), attempts=[attempt(key=key(), submitted=1, engine=(2, 7), seen=8, nodes=nodes)]))
    engine = only(spans, Part.ENGINE)
    assert {n.name[-1]: times(n) for n in of(spans, Part.NODE)} == {"a": (2, 2), "b": (3, 7), "c": (2, 2), "d": (3, 4)}
    assert [n.parent_id == engine.span_id for n in of(spans, Part.NODE)] == [True, True, True, False]
    assert named(spans, "name of a").attributes["meta.node.times"] == "unknown"


def test_a_clock_that_is_behind_ends_no_span_before_its_start() -> None:
    one = attempt(key=key(), asked=1, submitted=2.75, engine=(5, 4), seen=2.5)
    spans = run_spans(record(step(), attempts=[one]))
    assert times(only(spans, Part.ENGINE)) == (5, 5)
    assert times(only(spans, Part.WAIT)) == (2.75, 2.75)


def test_a_skipped_step_and_one_that_the_end_came_before_have_spans_without_length() -> None:
    skipped = step("deploy", StepState.SKIPPED, 4, 4, attempts=0, message="its condition is false")
    never = step("report", StepState.CANCELLED, None, None, attempts=0, message="not started")
    waiting = step("later", StepState.PENDING, None, None, attempts=0)
    spans = run_spans(record(skipped, never, waiting, state=RunState.CANCELED))
    assert {s.name: times(s) for s in of(spans, Part.STEP)} == {
        "step deploy": (4, 4), "step report": (10, 10), "step later": (10, 10),
    }  # fmt: skip
    deploy, report = named(spans, "step deploy"), named(spans, "step report")
    assert (deploy.status, deploy.attributes["meta.message"]) == (Status.UNSET, "its condition is false")
    assert deploy.attributes["cicd.pipeline.task.run.result"] == "skip"
    assert (report.status, report.message) == (Status.ERROR, "not started")


def test_a_step_that_has_not_begun_has_no_span_and_what_goes_on_has_no_end() -> None:
    running = step(state=StepState.RUNNING, end=None)
    waiting = step("deploy", StepState.PENDING, None, None, attempts=0)
    one = attempt(key=key(), asked=1, submitted=2)
    spans = run_spans(record(running, waiting, attempts=[one], state=RunState.RUNNING, end=None))
    assert {s.part: times(s) for s in spans} == {
        Part.CAUSE: (0, 0), Part.RUN: (0, None), Part.STEP: (1, None), Part.ATTEMPT: (1, None), Part.SUBMIT: (1, 2),
        Part.WAIT: (2, None), Part.ENGINE: (2, None),
    }  # fmt: skip
    assert {s.status for s in spans} == {Status.UNSET}


def test_what_a_terminated_run_leaves_open_is_closed_with_it_and_says_so() -> None:
    lost = step(state=StepState.LOST, end=7, message="the meta-run ended in Temporal before this step did")
    one = attempt(key=key(), asked=1, submitted=2)
    spans = run_spans(record(lost, attempts=[one], state=RunState.TERMINATED, end=7, message="by hand"))
    assert {s.part: times(s)[1] for s in spans} == {
        Part.CAUSE: 0, Part.RUN: 7, Part.STEP: 7, Part.ATTEMPT: 7, Part.SUBMIT: 2, Part.WAIT: 7, Part.ENGINE: 7,
    }  # fmt: skip
    assert (only(spans, Part.ENGINE).status, only(spans, Part.ENGINE).message) == (
        Status.ERROR, "nobody has seen how it ended",
    )  # fmt: skip
    assert only(spans, Part.ATTEMPT).message == "the meta-run ended in Temporal before this step did"
    assert (only(spans, Part.RUN).message, only(spans, Part.RUN).attributes["error.type"]) == ("by hand", "terminated")


def test_an_attempt_that_was_cut_ends_when_its_engine_run_had_ended() -> None:
    first = attempt(key=key(), asked=1, submitted=2, failure=FailureClass.TIMED_OUT, message="attempt timed out")
    second = attempt(key=key(attempt=2), asked=7, submitted=7, engine=(7, 8), seen=8, uid="u2")
    work = [
        tried(key(), Activity.TERMINATE, 1, 3, 3.5, code=DOWN),
        tried(key(), Activity.TERMINATE, 2, 4, 5),
    ]
    spans = run_spans(record(step(attempts=2), attempts=[first, second], work=work))
    cut = named(spans, "attempt 1")
    assert (times(cut), cut.attributes["meta.failure"]) == ((1, 5), "timed_out")
    assert [(t.name, t.status, t.parent_id == cut.span_id) for t in of(spans, Part.WORK)] == [
        ("terminate", Status.ERROR, True), ("terminate", Status.UNSET, True),
    ]  # fmt: skip


def test_copying_artifacts_is_part_of_the_step_before_its_first_attempt() -> None:
    before = key(attempt=0)
    work = [tried(before, Activity.STAGE, 1, 1, 2, code=DOWN), tried(before, Activity.STAGE, 2, 3, 5)]
    spans = run_spans(record(step(start=5), work=work))
    stage = only(spans, Part.STAGE)
    assert (times(stage), stage.status, stage.attributes["meta.tries"]) == ((1, 5), Status.UNSET, 2)
    assert [event.name for event in stage.events] == ["exception"]
    assert path_of(stage, spans) == ["start chain", "step train", "stage"]
    assert times(only(spans, Part.STEP)) == (1, 9), "the step began with the copy"


def test_an_engine_that_makes_a_trace_of_its_own_is_linked() -> None:
    one = attempt(key=key(), submitted=1, engine=(1, 2), seen=3, own_trace="c" * 32)
    assert only(run_spans(record(step(), attempts=[one])), Part.ENGINE).links == (Link("c" * 32),)


def test_names_of_attributes_are_those_of_the_semantic_conventions() -> None:
    known = {
        value
        for module in (
            cicd_attributes,
            error_attributes,
            exception_attributes,
            k8s_attributes,
            process_attributes,
            url_attributes,
        )
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    foreign = {name for name in ours if "." in name and not name.startswith(("meta.", "baggage."))}
    assert foreign - known == set()
    assert len(foreign) > 10
