"""An expression is checked against what there is to read."""

import pytest

from workflows.expressions.check import Scope, StepScope, check_expression
from workflows.expressions.types import ExprType

SCOPE = Scope(
    inputs={"rate": ExprType.NUMBER},
    steps={
        "train": StepScope({"accuracy": ExprType.NUMBER}, {"model"}, "train.yaml declares none"),
        "open": StepScope(),
        "me": StepScope(),
    },
    here="me",
)


@pytest.mark.parametrize(
    ("expression", "returns"),
    [
        ("steps.train.outputs.accuracy > 1", ExprType.BOOLEAN),
        ("steps.open.outputs.anything", ExprType.ANY),
        ("steps.open.artifacts.anything", ExprType.OBJECT),
        ("steps.train.artifacts.model.uri", ExprType.ANY),
        ("steps.train.state == 'succeeded'", ExprType.BOOLEAN),
        ("run.id + run.workflow", ExprType.STRING),
        ("inputs.rate * 2", ExprType.NUMBER),
    ],
)
def test_what_is_right_has_a_type(expression: str, returns: ExprType) -> None:
    checked = check_expression(expression, SCOPE)
    assert checked.issues == ()
    assert checked.returns is returns


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("steps.trian.state", "unknown step 'trian'", "did you mean 'train'?"),
        ("inputs.rat", "unknown input 'rat'", "did you mean 'rate'?"),
        ("steps.train.outputs.acuracy", "step 'train' has no output 'acuracy' (train.yaml", "did you mean 'accuracy'?"),
        ("steps.train.artifacts.modle", "step 'train' has no artifact 'modle'", "did you mean 'model'?"),
        ("steps.train.artifacts.model.url", "an artifact has no 'url'", "did you mean 'uri'?"),
        ("steps.train.state == 'suceeded'", "a step has no state 'suceeded'", "did you mean 'succeeded'?"),
        ("steps.me.state", "step 'me' reads itself", "steps before its own"),
        ("run.idd", "a run has no 'idd'", "did you mean 'id'?"),
        ("steps.train.outputs.accuracy + 'x'", "'+' cannot be applied to a number and a string", "string(x)"),
        ("x" * 5000, "5000 characters, 4096 at most", "in a step"),
        ("[1].map(a, [1].map(b, [1].map(c, 1)))", "3 deep, 2 at most", "in a step"),
        (" + ".join(["[1].map(a, a)"] * 17), "17 macros", "in a step"),
    ],
)
def test_what_is_wrong_is_named_with_a_hint(expression: str, message: str, hint: str) -> None:
    (issue,) = check_expression(expression, SCOPE).issues
    assert message in issue.message
    assert hint in issue.hint


def test_all_slips_of_an_expression_are_named_at_once() -> None:
    issues = check_expression("inputs.rat > 1 && steps.trian.state == 'x' && foo(1)", SCOPE).issues
    assert [i.offset for i in issues] == [0, 18, 49]


@pytest.mark.parametrize("expression", ["[{'a': 1}].exists(inputs, inputs.a == 1)", "[1].map(run, run.id)"])
def test_a_name_of_ones_own_that_hides_a_root_is_refused(expression: str) -> None:
    assert check_expression(expression, SCOPE).issues


def test_an_expression_may_read_very_many_names() -> None:
    inputs = dict.fromkeys([f"i{n}" for n in range(120)], ExprType.NUMBER)
    text = f"[{', '.join(f'inputs.{name}' for name in inputs)}]"
    checked = check_expression(text, Scope(inputs, {}))
    assert (checked.issues, len(checked.references)) == ((), 120)
