from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from meta.store.envelope import envelope, payload, subject_of
from meta.store.fold import fold_ended, fold_gone, fold_run, fold_submitted
from meta.store.outgoing import MAX_VALUES, Happening, Kind, happenings
from meta.trace.record import RunRecord
from meta.trace.spans import run_spans
from workflows.messages import RunSnapshot, StepRole, StepSnapshot
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailureClass, Outcome, RunState, StepKind, StepState
from workflows.spec.subjects import covers, subject_fault

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEPS = ("a", "b")
BAD = {"step.{}.failed", "step.{}.timed_out", "step.{}.lost", "step.{}.cancelled", "step.{}.skipped"}
MODEL = Artifact(name="model", uri="s3://meta/model", sha256="ab", size=2, producer="a")


def step(name: str, state: StepState = StepState.PENDING, attempt: int = 0, **more: object) -> StepSnapshot:
    base = StepSnapshot(name=name, kind=StepKind.ARGO, engine="argo", state=state, attempt=attempt)
    return base.model_copy(update=more)


def run(*steps: StepSnapshot, state: RunState = RunState.RUNNING, **more: object) -> RunSnapshot:
    base = RunSnapshot(
        id="chain-1", workflow="chain", bundle_digest="sha256:00", inputs={"rate": 1}, state=state, steps=list(steps),
        started_at=AT, finished_at=AT if state.ended else None,
    )  # fmt: skip
    return base.model_copy(update=more)


class Telling:
    """What the store does with news, kept in memory: folds it, and asks what it is worth."""

    def __init__(self) -> None:
        self.known: RunSnapshot | None = None
        self.told: list[Happening] = []

    def snapshot(self, news: RunSnapshot) -> None:
        final = [one.name for one in news.steps if one.state.ended]
        self._change(fold_run(self.known, news) if self.known is not None else news, final)

    def gone(self, state: RunState) -> None:
        if self.known is not None:
            self._change(fold_gone(self.known, state, "by hand", AT), [])

    def submitted(self, name: str, attempt: int) -> None:
        ref = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=f"{name}-{attempt}", uid=f"u{attempt}")
        self._attempt(name, lambda known: fold_submitted(known, name, ref, attempt, AT))

    def ended(self, name: str, attempt: int, failure: FailureClass | None) -> None:
        ref = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=f"{name}-{attempt}", uid=f"u{attempt}")
        outcome = Outcome(failure=failure, artifacts={"model": MODEL})
        self._attempt(name, lambda known: fold_ended(known, name, ref, attempt, outcome=outcome, at=AT))

    def _attempt(self, name: str, fold: Callable[[StepSnapshot | None], StepSnapshot]) -> None:
        base = self.known or run(bundle_digest="", inputs={})
        if not base.state.ended:
            known = next((one for one in base.steps if one.name == name), None)
            others = [one for one in base.steps if one.name != name]
            base = base.model_copy(update={"steps": [*others, fold(known)]})
        self._change(base, None)

    def _change(self, after: RunSnapshot, final: list[str] | None) -> None:
        said = [one.id(after.id) for one in self.told]
        self.told += happenings(self.known, after, final, said=said, now=AT)
        self.known = after

    @property
    def ids(self) -> list[str]:
        return [one.id("chain-1").removeprefix("chain-1/") for one in self.told]


def assert_legal(ids: list[str]) -> None:
    """What a subscriber may count on, whatever the store was told, in whatever order."""
    assert len(ids) == len(set(ids))
    assert not ids or ids[0] == "run.started"
    ends = [at for at, one in enumerate(ids) if one.startswith("run.") and one != "run.started"]
    assert ends in ([], [len(ids) - 1]), "a run ends once, and nothing comes after it"
    for name in STEPS:
        own = [one.partition("/")[0] for one in ids if one.split(".")[1:2] == [name]]
        bad = [at for at, one in enumerate(own) if one in {end.format(name) for end in BAD}]
        assert bad in ([], [len(own) - 1]), "the workflow's word on a step is the last one"
        begun = f"step.{name}.started"
        for at, one in enumerate(own):
            if one not in (begun, f"step.{name}.cancelled", f"step.{name}.skipped"):
                assert begun in own[:at], f"{one} without a start"


def two(states: tuple[StepState, StepState], attempts: tuple[int, int], state: RunState) -> RunSnapshot:
    both = zip(STEPS, states, attempts, strict=True)
    return run(*(step(name, one, attempt) for name, one, attempt in both), state=state)


STATES = st.sampled_from(list(StepState))
SNAPSHOTS = st.builds(
    two,
    st.tuples(STATES, STATES),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([RunState.RUNNING] * 4 + list(RunState)),
)
NEWS = st.one_of(
    st.tuples(st.just("snapshot"), SNAPSHOTS),
    st.tuples(st.just("gone"), st.sampled_from([RunState.TERMINATED, RunState.FAILED])),
    st.tuples(st.just("submitted"), st.sampled_from(STEPS), st.integers(1, 3)),
    st.tuples(
        st.just("ended"), st.sampled_from(STEPS), st.integers(1, 3), st.sampled_from([None, *FailureClass])
    ),
)  # fmt: skip


@given(st.lists(NEWS, max_size=25))
def test_whatever_the_store_is_told_its_events_make_sense_in_their_order(news: list[tuple[object, ...]]) -> None:
    telling = Telling()
    for name, *values in news:
        getattr(telling, str(name))(*values)
        before = len(telling.told)
        getattr(telling, str(name))(*values)
        assert len(telling.told) == before, "a repeat of the same news adds nothing"
    assert_legal(telling.ids)


@given(st.randoms(use_true_random=False), st.floats(0, 0.5))
def test_a_run_whose_news_are_lost_repeated_and_late_tells_every_end(chance: random.Random, loss: float) -> None:
    """What the parts of a real run say, shuffled a little; its end is never lost, and settles what is missing."""
    last = run(step("a", StepState.SUCCEEDED, 2), step("b", StepState.FAILED, 1), state=RunState.FAILED)
    news: list[tuple[object, ...]] = [
        ("snapshot", run(step("a"), step("b"))),
        ("submitted", "a", 1),
        ("ended", "a", 1, FailureClass.FAILED),
        ("submitted", "a", 2),
        ("ended", "a", 2, None),
        ("submitted", "b", 1),
        ("ended", "b", 1, FailureClass.FAILED),
    ]
    kept = [one for one in news for _ in range(chance.choice((1, 1, 2))) if chance.random() > loss]
    kept.sort(key=lambda one: news.index(one) + chance.random() * 3)
    telling = Telling()
    for name, *values in [*kept, ("snapshot", last), *kept]:
        getattr(telling, str(name))(*values)
    assert_legal(telling.ids)
    assert {"step.a.succeeded/2", "step.b.failed"} <= set(telling.ids)
    assert telling.ids[-1] == "run.failed"


def test_a_failed_attempt_is_not_the_end_of_its_step_until_the_workflow_says_so() -> None:
    telling = Telling()
    telling.snapshot(run(step("a")))
    telling.submitted("a", 1)
    telling.ended("a", 1, FailureClass.LOST)
    assert telling.ids == ["run.started", "step.a.started/1", "artifact.a.model/1", "step.a.attempt_failed/1"]
    assert telling.told[-1].data["state"] == "lost"
    telling.snapshot(run(step("a", StepState.LOST, 1)))
    assert telling.ids[4:] == ["step.a.lost"], "although the state is the same as the attempt's"


def test_a_snapshot_from_before_an_attempt_failed_does_not_make_that_the_end_of_the_step() -> None:
    telling = Telling()
    telling.ended("a", 1, FailureClass.FAILED)
    telling.snapshot(run(step("a")))
    telling.snapshot(run(step("a", StepState.RUNNING, 1)))
    assert telling.ids[-1] == "step.a.attempt_failed/1"


def test_an_attempt_that_the_workflow_overruled_ends_with_its_word() -> None:
    telling = Telling()
    telling.snapshot(run(step("a")))
    telling.ended("a", 1, None)
    telling.snapshot(run(step("a", StepState.TIMED_OUT, 1)))
    telling.ended("a", 1, None)
    assert [one for one in telling.ids if one.startswith("step")] == [
        "step.a.started/1", "step.a.succeeded/1", "step.a.timed_out"
    ]  # fmt: skip


def test_a_step_that_the_workflow_calls_running_is_told_with_its_engine_run() -> None:
    telling = Telling()
    telling.snapshot(run(step("a", StepState.RUNNING, 1)))
    assert telling.ids == ["run.started"]
    telling.submitted("a", 1)
    assert telling.told[-1].data["engine_run"] == {"name": "a-1", "uid": "u1", "namespace": "", "url": ""}


def test_ends_are_told_in_the_order_in_which_they_came_to_be() -> None:
    later = AT + timedelta(seconds=1)
    telling = Telling()
    telling.snapshot(run(step("a"), step("b")))
    telling.snapshot(
        run(step("a", StepState.SKIPPED, finished_at=later), step("b", StepState.FAILED, 1, finished_at=AT))
    )
    assert telling.ids[1:] == ["step.b.started/1", "step.b.failed", "step.a.skipped"]


def test_values_that_are_too_large_for_a_message_are_left_out_and_named() -> None:
    after = run(inputs={"text": "x" * MAX_VALUES})
    [started] = happenings(None, after, [], said=[], now=AT)
    assert started.data == {"state": "running", "left_out": ["inputs"]}
    event = envelope(after, started, 1)
    assert len(payload(event)) < 1000


def test_an_event_is_a_cloudevent_with_the_trace_of_its_run_below_the_span_of_its_cause() -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    trace = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "tracestate": "a=b", "baggage": "x=y"}
    after = run(trace=trace, request_id="order 7", trigger="nats")
    [started] = happenings(None, after, [], said=[], now=AT)
    event = envelope(after, started, 12)
    read = JSONFormat().read(CloudEvent, payload(event))
    assert (read.get_id(), read.get_type(), read.get_time()) == ("chain-1/run.started", "meta.run.started", AT)
    assert read.get_extension("sequence") == "0000000012"
    root = run_spans(RunRecord(after, [], []))[0]
    assert (root.trace_id, root.parent_id) == (trace_id, "b7ad6b7169203331")
    assert read.get_extension("traceparent") == f"00-{trace_id}-{root.span_id}-01"
    assert read.get_extension("tracestate") == "a=b"
    assert "baggage" not in json.loads(payload(event))
    assert event["data"] == {
        "run": "chain-1", "workflow": "chain", "trigger": "nats", "request_id": "order 7", "state": "running",
        "inputs": {"rate": 1},
    }  # fmt: skip


def test_the_events_of_a_run_that_nobody_traced_can_be_continued_too_as_its_sampling_says() -> None:
    after = run()
    [started] = happenings(None, after, [], said=[], now=AT)
    root = run_spans(RunRecord(after, [], []))[0]
    event = envelope(after, started, 1)
    assert event["traceparent"] == f"00-{root.trace_id}-{root.span_id}-01"
    assert "tracestate" not in event
    assert envelope(after, started, 1, sampling=0)["traceparent"] == f"00-{root.trace_id}-{root.span_id}-00"


@given(st.text(min_size=1, max_size=50))
def test_whatever_a_runs_id_is_its_events_have_a_subject(run_id: str) -> None:
    subject = subject_of("chain", run_id.encode(errors="replace").decode(), Kind.RUN_STARTED.value)
    assert covers("meta.events.chain.*.run.started", subject)
    assert subject_fault(subject[:200], wildcards=False) == "" or len(subject) > 200


def test_every_state_of_an_end_has_its_kind() -> None:
    ended = [state for state in StepState if state.ended]
    for state in ended:
        told = happenings(run(step("a")), run(step("a", state, 1)), ["a"], said=[], now=AT)
        assert told[-1].type == f"meta.step.{state.value}"
    for state in RunState:
        if state.ended:
            [told_end] = happenings(run(), run(state=state), [], said=[], now=AT)
            assert told_end.type == f"meta.run.{'cancelled' if state is RunState.CANCELED else state.value}"


def test_a_compensation_says_its_role_and_a_continued_step_that_the_run_goes_on() -> None:
    undo = step("compensate_a", StepState.SUCCEEDED, 1, role=StepRole.COMPENSATION)
    news = run(step("a", StepState.FAILED, 1, continued=True), undo, state=RunState.FAILED)
    told = {one.what: one.data for one in happenings(run(), news, None, said=(), now=AT)}
    assert told["step.a.failed"].get("continued") is True
    assert "role" not in told["step.a.failed"]
    assert told["step.compensate_a.succeeded"]["role"] == "compensation"
