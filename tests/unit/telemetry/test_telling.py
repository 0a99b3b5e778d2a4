from __future__ import annotations

from datetime import timedelta

from meta.telemetry.telling import PATIENCE, Telling, pack, ready, telling, unpack
from meta.trace.model import Span
from tests.support.traces import check_tree
from tests.unit.store.test_store import AT, snapshot
from workflows.messages import RunSnapshot
from workflows.outcome import RunState, StepState
from workflows.trace import span_id, trace_id

RUN = "chain-1"


def run(prepare: StepState, train: StepState = StepState.PENDING, state: RunState = RunState.RUNNING) -> RunSnapshot:
    made = snapshot(RUN, state=state, finished_at=AT if state.ended else None)
    states = {"prepare": prepare, "train": train}
    steps = [
        step.model_copy(
            update={"state": states[step.name], "finished_at": AT if states[step.name].ended else None, "attempt": 1}
        )
        for step in made.steps
    ]
    return made.model_copy(update={"steps": steps})


def span(parent: str, *path: str, ended: bool = True) -> Span:
    own = span_id(RUN, *path)
    return Span(trace_id(RUN, {}), own, parent, "/".join(path), AT, AT if ended else None)


def spans(*, node_ended: bool = True, run_ended: bool = False) -> list[Span]:
    root = span("", "cause")
    prepare, train = (span(root.span_id, "step", name) for name in ("prepare", "train"))
    engine = span(prepare.span_id, "engine", "prepare", ended=node_ended)
    return [
        root,
        span(root.span_id, "run", ended=run_ended),
        prepare,
        engine,
        span(engine.span_id, "node", "prepare"),
        train,
        span(root.span_id, "something", "else"),
    ]


def names(found: Telling) -> list[str]:
    return [one.name for one in found.spans]


def test_the_root_is_told_at_once_and_a_step_with_all_below_it_when_it_succeeds() -> None:
    going = telling(run(StepState.RUNNING), spans(node_ended=False), [], [], AT)
    assert (going.told, names(going)) == (["root"], ["cause"])
    done = telling(run(StepState.SUCCEEDED), spans(), ["root"], [], AT)
    assert (done.told, names(done)) == (["step/prepare"], ["step/prepare", "engine/prepare", "node/prepare"])
    assert ready(run(StepState.SUCCEEDED), ["root", "step/prepare"], []) == set()


def test_a_failed_attempt_ends_its_step_only_when_the_workflow_says_so() -> None:
    failed = run(StepState.FAILED)
    assert ready(failed, ["root"], []) == set()
    assert ready(failed, ["root"], ["prepare"]) == {"step/prepare"}


def test_the_end_of_the_run_tells_all_the_rest_as_one_tree() -> None:
    ended = run(StepState.SUCCEEDED, StepState.FAILED, RunState.FAILED)
    found = telling(ended, spans(run_ended=True), [], [], AT)
    assert found.told == ["root", "run", "step/prepare", "step/train"]
    assert len(found.spans) == len(spans())
    check_tree(found.spans)
    assert "something/else" in names(found), "what belongs to no step goes with the run"


def test_a_step_waits_for_the_end_of_what_is_below_it_and_not_for_ever() -> None:
    over = run(StepState.TIMED_OUT)
    waiting = telling(over, spans(node_ended=False), ["root"], ["prepare"], AT)
    assert (waiting.told, waiting.spans, waiting.waits) == ([], [], True)
    at_last = telling(over, spans(node_ended=False), ["root"], ["prepare"], AT + PATIENCE + timedelta(seconds=1))
    assert (at_last.told, names(at_last), at_last.waits) == (["step/prepare"], ["step/prepare"], False)


def test_a_run_that_only_its_attempts_have_told_of_is_not_told_yet() -> None:
    assert ready(snapshot(RUN, bundle_digest=""), [], []) == set()


def test_a_telling_is_the_same_after_it_was_written_down() -> None:
    found = telling(run(StepState.SUCCEEDED), spans(), [], [], AT)
    written = pack(found)
    again = unpack(written)
    assert (again.told, names(again), pack(again)) == (found.told, names(found), written)
