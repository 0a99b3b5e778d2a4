"""The expression of retryOn is checked against what an outcome has, and asked about one."""

import pytest

from workflows.errors import ExpressionFailed
from workflows.expressions.retry_on import NODE_FIELDS, OUTCOME, check_retry_on, wants_retry
from workflows.expressions.types import ExprType
from workflows.messages import AskRetry, StepOutcome
from workflows.outcome import FailedNode, FailureClass

KILLED = FailedNode(name="train", phase="Failed", message="OOMKilled (exit code 137)", exit_code=137)
UNKNOWN = FailedNode(name="load", phase="FAILED", message="no exit code is told")


def ask(expression: str, *nodes: FailedNode, failure: FailureClass = FailureClass.FAILED, attempt: int = 1) -> bool:
    outcome = StepOutcome(failure=failure, phase="Failed", message="child 'train' failed", failed_nodes=list(nodes))
    assert check_retry_on(expression).issues == ()
    return wants_retry(AskRetry(step="train", expression=expression, attempt=attempt, outcome=outcome))


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("outcome.failed_nodes.exists(n, n.exit_code == 137)", True),
        ("outcome.failed_nodes.exists(n, n.exit_code == 1)", False),
        ("outcome.failed_nodes.all(n, n.name == 'train')", False),
        ("outcome.failed_nodes.exists(n, n.exit_code != null && n.exit_code > 128)", True),
        ("outcome.failed_nodes.filter(n, n.phase == 'Failed').size() == 1", True),
        ("outcome.failed_nodes.exists(n, n.message.contains('OOMKilled')) && outcome.attempt < 2", True),
        ("outcome.failure in ['failed', 'timed_out']", True),
        ("outcome.failure == 'timed_out'", False),
        ("outcome.phase == 'Failed' && outcome.message.startsWith('child')", True),
        ("true", True),
    ],
)
def test_an_outcome_is_asked_about_its_nodes_its_words_and_its_attempt(expression: str, wanted: bool) -> None:
    assert ask(expression, UNKNOWN, KILLED) is wanted


def test_the_attempt_is_the_one_that_has_ended() -> None:
    assert [ask("outcome.attempt <= 2", attempt=n) for n in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("expression", "message", "offset", "hint"),
    [
        ("outcome.failled_nodes.size() > 0", "an outcome has no 'failled_nodes'", 8, "did you mean 'failed_nodes'?"),
        ("outcome.failed_nodes.exists(n, n.exitcode == 1)", "a failed node has no 'exitcode'", 33, "'exit_code'"),
        ("outcome.failure == 'timedOut'", "there is no failure 'timedOut'", 19, "did you mean 'timed_out'?"),
        ("outcome == null", "'outcome' cannot be read as a whole", 0, "outcome.failure"),
        ("inputs.rate > 1", "there is no name 'inputs", 6, "it reads outcome.failure"),
        ("outcome.attempt && true", "'&&' cannot be applied to", 16, ""),
        ("outcome.attempt <", "the expression ends too early", 17, ""),
        ("x" * 5000, "5000 characters", 0, ""),
    ],
)
def test_a_slip_is_found_at_its_place_before_anything_runs(
    expression: str, message: str, offset: int, hint: str
) -> None:
    checked = check_retry_on(expression)
    assert checked.returns is ExprType.ANY
    assert message in checked.issues[0].message
    assert checked.issues[0].offset == offset
    assert hint in checked.issues[0].hint


def test_what_cannot_be_computed_names_the_step_and_the_reason() -> None:
    with pytest.raises(ExpressionFailed, match=r"step 'train', retryOn: .*index 3 of a list of 1"):
        ask("outcome.failed_nodes[3].exit_code == 1", KILLED)


def test_a_value_that_is_no_answer_is_refused() -> None:
    with pytest.raises(ExpressionFailed, match="gives 137, not true or false"):
        ask("outcome.failed_nodes[0].exit_code", KILLED)


def test_every_field_of_a_node_but_its_log_can_be_read() -> None:
    assert set(NODE_FIELDS) == set(FailedNode.model_fields) - {"log"}
    assert set(OUTCOME) - {"attempt"} <= set(StepOutcome.model_fields)
