from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from meta.store.fold import fold_ended, fold_gone, fold_run, fold_step, fold_submitted, progress
from workflows.messages import RunSnapshot, StepRole, StepSnapshot
from workflows.outcome import (
    Artifact,
    EngineKind,
    EngineRunRef,
    FailureClass,
    Node,
    Outcome,
    RunState,
    StepKind,
    StepState,
)

AT = datetime(2026, 1, 2, tzinfo=UTC)
REF = EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="chain-train-1", uid="u1")
DONE = Outcome(
    outputs={"accuracy": 0.93},
    artifacts={"model": Artifact(name="model", uri="s3://meta/model", sha256="ab", size=3)},
    nodes=[Node(id="n1", name="train", cached=True), Node(id="n2", name="root")],
    finished_at=AT + timedelta(seconds=5),
)


def step(state: StepState, attempt: int, message: str = "") -> StepSnapshot:
    return StepSnapshot(name="train", kind=StepKind.KFP, engine="kfp", state=state, attempt=attempt, message=message)


def run(*steps: StepSnapshot, state: RunState = RunState.RUNNING) -> RunSnapshot:
    return RunSnapshot(id="r", workflow="chain", bundle_digest="d", state=state, steps=list(steps))


steps = st.builds(step, st.sampled_from(StepState), st.integers(0, 3))


@given(st.lists(steps, min_size=1, max_size=6))
def test_a_step_never_goes_backwards_whatever_the_order(news: list[StepSnapshot]) -> None:
    known: StepSnapshot | None = None
    for one in news:
        folded = fold_step(known, one)
        assert known is None or progress(folded) >= progress(known)
        known = folded
    assert known is not None
    assert progress(known) == max(progress(one) for one in news)


def test_every_order_of_submitted_ended_and_submitted_again_ends_the_same() -> None:
    def first(known: StepSnapshot | None) -> StepSnapshot:
        return fold_submitted(known, "train", REF, 1, AT)

    def failed(known: StepSnapshot | None) -> StepSnapshot:
        outcome = Outcome(failure=FailureClass.FAILED, message="boom")
        return fold_ended(known, "train", REF, 1, outcome=outcome, at=AT)

    def second(known: StepSnapshot | None) -> StepSnapshot:
        return fold_submitted(known, "train", REF, 2, AT)

    def done(known: StepSnapshot | None) -> StepSnapshot:
        return fold_ended(known, "train", REF, 2, outcome=DONE, at=AT)

    results = set[str]()
    for order in itertools.permutations([first, failed, second, done, done]):
        known: StepSnapshot | None = None
        for tell in order:
            known = tell(known)
        assert known is not None
        results.add(known.model_dump_json())
    assert len(results) == 1
    result = StepSnapshot.model_validate_json(results.pop())
    assert (result.state, result.attempt, result.nodes, result.cached_nodes) == (StepState.SUCCEEDED, 2, 2, 1)
    assert result.outputs == {"accuracy": 0.93}


def test_the_workflow_overrules_what_an_attempt_wrote_and_a_late_repeat_does_not_win_back() -> None:
    written = fold_ended(None, "train", REF, 1, outcome=DONE, at=AT)
    ruled = fold_step(written, step(StepState.FAILED, 1, "output accuracy is not a number"))
    again = fold_ended(ruled, "train", REF, 1, outcome=DONE, at=AT)
    assert again.state is StepState.FAILED
    assert again.message == "output accuracy is not a number"
    assert again.run == REF, "details that the workflow left out are kept"


def test_an_attempt_brings_its_own_engine_run_although_the_workflow_told_of_it_with_that_of_the_last() -> None:
    told = fold_step(None, step(StepState.RUNNING, 2).model_copy(update={"run": REF}))
    second = REF.model_copy(update={"uid": "u2"})
    assert fold_submitted(told, "train", second, 2, AT).run == second
    assert fold_submitted(told, "train", second, 1, AT).run == REF


def test_an_old_snapshot_does_not_reopen_a_run_that_has_ended() -> None:
    ended = run(step(StepState.SUCCEEDED, 1), state=RunState.SUCCEEDED)
    assert fold_run(ended, run(step(StepState.RUNNING, 1))) == ended


def test_the_end_of_a_run_settles_every_step() -> None:
    known = run(step(StepState.RUNNING, 2))
    assert fold_run(known, run(step(StepState.CANCELLED, 1), state=RunState.CANCELED)).steps[0].attempt == 1


def test_a_run_that_temporal_terminated_leaves_no_step_running() -> None:
    other = step(StepState.PENDING, 0).model_copy(update={"name": "deploy"})
    gone = fold_gone(run(step(StepState.RUNNING, 1), other), RunState.TERMINATED, "stopped by hand", AT)
    assert [s.state for s in gone.steps] == [StepState.LOST, StepState.SKIPPED]
    assert (gone.state, gone.message, gone.finished_at) == (RunState.TERMINATED, "stopped by hand", AT)
    done = run(step(StepState.SUCCEEDED, 1), state=RunState.SUCCEEDED)
    assert fold_gone(done, RunState.TERMINATED, "too late", AT) == done


def test_the_role_of_a_step_stays_whoever_tells_of_it_first() -> None:
    mine = step(StepState.RUNNING, 1).model_copy(update={"role": StepRole.COMPENSATION})
    told = fold_ended(
        fold_submitted(mine, "train", REF, 1, AT), "train", REF, 1, outcome=DONE, at=AT + timedelta(seconds=1)
    )
    assert (told.role, told.state) == (StepRole.COMPENSATION, StepState.SUCCEEDED)
    early = fold_ended(None, "train", REF, 1, outcome=DONE, at=AT)
    assert fold_step(early, mine) == early.model_copy(update={"role": StepRole.COMPENSATION})
