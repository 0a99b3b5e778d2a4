"""`when`, `depends` and template tags."""

from __future__ import annotations

import json

import pytest
from hera.workflows import models as m
from hypothesis import given
from hypothesis import strategies as st

from meta.sandbox.argo.operator.depends import DependsError, Outcome, dependencies, depends_logic, evaluate_depends
from meta.sandbox.argo.operator.tags import SubstitutionError, find_tags, replace, replace_string
from meta.sandbox.argo.operator.when import WhenError, evaluate_when
from meta.sandbox.argo.state.status import Phase


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", True),
        ("heads == heads", True),
        ("heads != heads", False),
        ("'with space' == \"with space\"", True),
        ("0.95 >= 0.9", True),
        ("10 > 9", True),
        ("1 + 2 * 3 == 7 && 2 ** 3 - 1 == 7 && 7 % 4 == 3 && 1 / 2 < 1", True),
        ("'a' + 1 == a1", True),
        ("b in (a, b) && !(3 in (1, 2))", True),
        ("'10' > '9'", False),
        ("-1 < 0", True),
        ("1 == 1.0", True),
        ("1 == '1'", False),
        ("true", True),
        ("!false", True),
        ("true && false || true", True),
        ("true && (false || true)", True),
        ("false || true && false", False),
        ("abc =~ '^a.c$'", True),
        ("abc !~ b", False),
        ("b.c > b.a", True),
        ("Succeeded == Succeeded && 3 < 4", True),
    ],
)
def test_a_when_is_decided_as_govaluate_does(expression: str, expected: bool) -> None:
    assert evaluate_when(expression) is expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("a-b == c", "cannot be used|Unexpected token"),
        ("{{tasks.x.outputs.result}} == 1", "Invalid token"),
        ("heads", "Expected boolean evaluation for 'heads'. Got heads"),
        ("1 < a", "cannot be used with the comparator"),
        ("(true", "Unbalanced parenthesis"),
        ("1 in (1)", "is not an array"),
        ("1 / 0 == 1", "division by zero"),
        ("a * 2 == 1", "cannot be used with the modifier"),
        ("true &&", "Unexpected end of expression"),
        ("1 && true", "not a bool"),
        ("a =~ '('", "not a regular expression"),
        ("a == b c", "Unexpected token"),
        ("sha256:12 == x", "hint: try wrapping the affected expression in quotes"),
    ],
)
def test_a_when_that_is_none_says_why(expression: str, reason: str) -> None:
    with pytest.raises(WhenError, match=reason):
        evaluate_when(expression)


@given(st.text(max_size=40))
def test_a_when_never_fails_in_another_way(expression: str) -> None:
    try:
        evaluate_when(expression)
    except WhenError:
        pass


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0), st.floats(0, 1e9))
def test_numbers_compare_as_numbers(left: float, right: float) -> None:
    assert evaluate_when(f"{left} >= {right}") is (left >= right)


TASKS = {name: m.DAGTask(name=name, template="t") for name in ("a", "b", "c-1")}
TASKS["soft"] = m.DAGTask(name="soft", template="t", continue_on=m.ContinueOn(failed=True))


@pytest.mark.parametrize(
    ("logic", "phases", "expected"),
    [
        ("a", {"a": Phase.SUCCEEDED}, True),
        ("a", {"a": Phase.SKIPPED}, True),
        ("a", {"a": Phase.OMITTED}, False),
        ("a", {"a": Phase.FAILED}, False),
        ("soft", {"soft": Phase.FAILED}, True),
        ("a.Failed || a.Errored", {"a": Phase.ERROR}, True),
        ("a.Failed", {"a": Phase.ERROR}, False),
        ("!a.Succeeded", {"a": Phase.FAILED}, True),
        ("a && !(b.Failed || b.Errored)", {"a": Phase.SUCCEEDED, "b": Phase.OMITTED}, True),
        ("c-1.Succeeded && a", {"c-1": Phase.SUCCEEDED, "a": Phase.FAILED}, False),
        ("a || b && c-1", {"a": Phase.SUCCEEDED, "b": Phase.FAILED, "c-1": Phase.FAILED}, True),
    ],
)
def test_depends_holds(logic: str, phases: dict[str, Phase], expected: bool) -> None:
    outcomes = {name: Outcome(phase) for name, phase in phases.items()}
    assert evaluate_depends(logic, outcomes, TASKS) is expected
    assert dependencies(logic) == list(phases)


def test_an_expanded_task_is_judged_by_its_parts() -> None:
    mixed = {"a": Outcome(Phase.FAILED, (Phase.SUCCEEDED, Phase.FAILED))}
    assert evaluate_depends("a.AnySucceeded", mixed, TASKS)
    assert not evaluate_depends("a.AllFailed", mixed, TASKS)
    assert evaluate_depends("a.AllFailed", {"a": Outcome(Phase.FAILED, (Phase.FAILED,))}, TASKS)
    assert not evaluate_depends("a.AllFailed", {"a": Outcome(Phase.FAILED)}, TASKS)


def test_dependencies_are_all_needed() -> None:
    task = m.DAGTask(name="d", template="t", dependencies=["a", "b"])
    assert depends_logic(task, TASKS) == "a && b"


@pytest.mark.parametrize("logic", ["a &&", "a b", "(a", "a.Finished", "a & b", "!"])
def test_a_wrong_depends_is_refused(logic: str) -> None:
    with pytest.raises(DependsError):
        evaluate_depends(logic, {"a": Outcome(Phase.SUCCEEDED), "b": Outcome(Phase.SUCCEEDED)}, TASKS)


def test_tags_are_replaced_once_and_unknown_ones_stay() -> None:
    text = replace_string("{{ a }}-{{b}}-{{other}}", {"a": "{{b}}", "b": "2"})
    assert text == "{{b}}-2-{{other}}"
    assert find_tags("x {{ a.b }} {{c}}") == ["a.b", "c"]


def test_a_strict_tag_must_be_known_and_an_absent_output_is_said() -> None:
    with pytest.raises(SubstitutionError, match=r"failed to resolve \{\{tasks.x.outputs.result\}\}"):
        replace_string("{{tasks.x.outputs.result}}", {}, strict=("tasks",))
    with pytest.raises(SubstitutionError, match="absent optional"):
        replace_string("{{tasks.x.outputs.parameters.p}}", {"tasks.x.outputs.parameters.p": None})


@given(st.text())
def test_any_value_goes_into_a_template_unchanged(value: str) -> None:
    template = m.Template(name="t", container=m.Container(image="i", args=["<{{inputs.parameters.p}}>"]))
    container = replace(template, {"inputs.parameters.p": value}).container
    assert container is not None
    assert container.args == [f"<{json.loads(json.dumps(value))}>"]
