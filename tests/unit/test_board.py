from datetime import UTC, datetime, timedelta

from workflows.board import Board
from workflows.messages import StartRun
from workflows.outcome import RunState, StepState
from workflows.spec.models import MetaWorkflow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "chain"},
        "steps": {"a": {"argo": {"manifest": "a.yaml"}}, "b": {"kfp": {"package": "b.yaml"}, "needs": ["a"]}},
    }
)


def board() -> Board:
    return Board("run-1", "t-1", StartRun(definition=DEFINITION, bundle_digest="sha256:0"), NOW)


def test_only_ended_steps_are_visible_to_expressions() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    assert b.views() == {}
    b.ended("a", StepState.FAILED, NOW, "boom", None)
    assert b.views()["a"].state is StepState.FAILED


def test_steps_that_never_started_are_cancelled_with_the_run() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    b.finish(RunState.CANCELED, NOW)
    states = {s.name: (s.state, s.message) for s in b.snapshot().steps}
    assert states == {"a": (StepState.CANCELLED, "cancelled"), "b": (StepState.CANCELLED, "not started")}


def test_a_time_that_a_retry_takes_counts_from_the_first_attempt() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    b.attempt_started("a", 2, NOW + timedelta(seconds=5))
    b.ended("a", StepState.SUCCEEDED, NOW + timedelta(seconds=9), "", None)
    assert b.step("a").duration == timedelta(seconds=9)
