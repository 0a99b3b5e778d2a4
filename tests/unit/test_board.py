from datetime import UTC, datetime, timedelta

from workflows.board import Board, markdown, static_details
from workflows.messages import StartRun, StepOutcome
from workflows.outcome import EngineKind, EngineRunRef, FailedNode, RunState, StepState
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
REF = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="chain-a-1", uid="u", url="http://ui/chain-a-1")


def board() -> Board:
    return Board("run-1", "t-1", StartRun(definition=DEFINITION, bundle_digest="sha256:0"), NOW)


def test_a_finished_step_shows_its_engine_run_its_time_and_its_outputs() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    b.adopted("a", REF)
    outcome = StepOutcome(outputs={"rows": 3}, nodes=2, cached_nodes=1)
    b.ended("a", StepState.SUCCEEDED, NOW + timedelta(seconds=2), "", outcome)
    text = markdown(b.snapshot())
    assert "**chain** is running: 1 of 2 steps ended" in text
    row = "| a | argo | 🟢\u00a0succeeded (cached) | 1 | 2.0\u00a0s | [chain-a-1](http://ui/chain-a-1) | rows = 3 |"
    assert row in text.splitlines()


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


def test_a_failed_step_shows_the_last_lines_that_it_wrote() -> None:
    b = board()
    node = FailedNode(name="main", exit_code=1, log=[f"line {i}" for i in range(20)])
    b.ended("a", StepState.FAILED, NOW, "boom", StepOutcome(failed_nodes=[FailedNode(name="other"), node]))
    assert b.step("a").failed_nodes[1] == node
    text = markdown(b.snapshot())
    assert text.endswith("\n\nLast lines of main in a:\n\n" + "\n".join(f"    line {i}" for i in range(10, 20)))


def test_a_message_cannot_break_the_table() -> None:
    b = board()
    b.ended("a", StepState.FAILED, NOW, "a | b\nc" + "x" * 200, None)
    row = next(line for line in markdown(b.snapshot()).splitlines() if line.startswith("| a "))
    assert "a \\| b c" in row
    assert row.endswith("… |")


def test_a_time_that_a_retry_takes_counts_from_the_first_attempt() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    b.attempt_started("a", 2, NOW + timedelta(seconds=5))
    b.ended("a", StepState.SUCCEEDED, NOW + timedelta(seconds=9), "", None)
    assert b.step("a").duration == timedelta(seconds=9)


def test_the_static_details_list_the_steps_and_what_they_are_for() -> None:
    assert static_details(DEFINITION).splitlines() == [
        "Meta-workflow **chain**",
        "",
        "- **a** on argo",
        "- **b** on kfp",
    ]
