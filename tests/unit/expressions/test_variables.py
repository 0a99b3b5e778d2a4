"""`item`, `index`, `outcome` and `event` are read where they are, with their types; elsewhere it is said where."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.expressions.check import Checked, Scope, StepScope, check_expression
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import references
from workflows.expressions.types import ExprType, element_of, is_list, list_of, of_items, of_value, of_word
from workflows.expressions.variables import EVENT, OUTCOME, fields_of_item, item_types
from workflows.values import JsonObject, JsonValue

MATRIX = item_types([], {"rate": ExprType.NUMBER, "model": ExprType.STRING})
FAN_OUT = StepScope({"score": ExprType.NUMBERS, "any": ExprType.LIST}, {"model"}, fans_out=True)
SCOPE = Scope({}, {"shards": FAN_OUT, "open": StepScope(fans_out=True)}, variables={**MATRIX, **OUTCOME, **EVENT})


def check(expression: str, scope: Scope = SCOPE) -> Checked:
    return check_expression(expression, scope)


@pytest.mark.parametrize(
    ("expression", "returns"),
    [
        ("item", ExprType.OBJECT),
        ("item.rate * 2", ExprType.NUMBER),
        ("item.model + '-x'", ExprType.STRING),
        ("index + 1", ExprType.INTEGER),
        ("outcome.state == 'failed' && outcome.failed_step != ''", ExprType.BOOLEAN),
        ("event.rows > 1", ExprType.BOOLEAN),
        ("steps.shards.outputs.score", ExprType.NUMBERS),
        ("steps.shards.outputs.score[index] * 2", ExprType.NUMBER),
        ("steps.shards.outputs.score.map(s, s + 1)", ExprType.NUMBERS),
        ("steps.shards.artifacts.model.map(m, m.uri)", ExprType.LIST),
        ("steps.open.outputs.anything", ExprType.LIST),
        ("steps.shards.message", ExprType.STRING),
        ("[{'rat': 1}].map(item, item.rat)", ExprType.INTEGERS),
        ("[{'stat': 1}].exists(outcome, outcome.stat == 1)", ExprType.BOOLEAN),
    ],
)
def test_what_is_right_has_a_type(expression: str, returns: ExprType) -> None:
    checked = check(expression)
    assert checked.issues == ()
    assert checked.returns is returns


@pytest.mark.parametrize(
    ("expression", "at", "message", "hint"),
    [
        ("item.rat", 5, "an item of this matrix has no 'rat'", "did you mean 'rate'?"),
        ("item.model * 2", 11, "'*' cannot be applied to a string and an integer", ""),
        ("1 + index * 'x'", 10, "'*' cannot be applied to an integer and a string", ""),
        ("outcome.stat == 'failed'", 0, "an outcome has no 'stat'", "did you mean 'state'?"),
        ("outcome == 1", 0, "'outcome' cannot be read as a whole", "outcome.state"),
        ("outcome.state == 'timed_out'", 17, "a run that ends has no state 'timed_out'", "states"),
        ("steps.shards.outputs.score.x", 27, "is a list, as step 'shards' runs once for each item", "score[0].x"),
        ("steps.shards.artifacts.model.uri", 29, "is a list, as step 'shards'", "model.map(x, x.uri)"),
    ],
)
def test_what_is_misread_is_named_at_its_place(expression: str, at: int, message: str, hint: str) -> None:
    (issue,) = check(expression).issues
    assert message in issue.message
    assert hint in issue.hint
    assert issue.offset == at


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("item + 1", "in a step with 'foreach'"),
        ("index", "in a step with 'foreach'"),
        ("outcome.state", "in 'compensate' and in steps of 'finally'"),
        ("event.rows", "in triggers and in wait.event.when"),
    ],
)
def test_a_variable_of_another_place_is_refused_with_where_it_is(expression: str, where: str) -> None:
    (issue,) = check(expression, Scope({}, {})).issues
    assert "there is no '" in issue.message and issue.message.endswith("here")
    assert where in issue.hint


def test_a_macro_may_call_its_own_variable_so_anywhere() -> None:
    for name in ("item", "index", "outcome", "event"):
        assert check(f"[1, 2].map({name}, {name} + 1)", Scope({}, {})).issues == ()
        assert references(f"[1, 2].map({name}, {name} + 1)") == frozenset()


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ("item.rate + index", {"item", "index"}),
        ("item", {"item"}),
        ("item.size() + item['a'] + steps.a.outputs.item", {"item", "steps.a.outputs.item"}),
        ("outcome.state + outcome.message.size()", {"outcome.state", "outcome.message"}),
        ("[1].map(item, item) + index", {"index"}),
        ("'item' + inputs.item", {"inputs.item"}),
    ],
)
def test_a_variable_is_found_as_it_stands(expression: str, read: set[str]) -> None:
    assert {str(r) for r in references(expression)} == read


def test_a_step_that_cannot_be_read_here_says_why() -> None:
    (issue,) = check("steps.shards.state", replace(SCOPE, hidden={"shards": ("it runs later", "wait")})).issues
    assert (issue.message, issue.hint) == ("it runs later", "wait")


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))  # the library cuts a key at a NUL
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars | text, lambda v: st.lists(v, max_size=3) | st.dictionaries(text, v, max_size=3))


def at_hand(item: JsonValue, index: int) -> tuple[dict[str, ExprType], JsonObject]:
    """Types and values of what the expressions of an item read, as they are worked out for it."""
    found: JsonObject = {"item": item, "index": index, **fields_of_item(item)}
    return {name: ExprType.ANY if value is None else of_value(value) for name, value in found.items()}, found


few = settings(max_examples=20, deadline=None)  # every set of variables is an environment of the library's own


@few
@given(values, st.integers(0, 9999))
def test_any_item_can_be_read_as_it_is(item: JsonValue, index: int) -> None:
    types, read = at_hand(item, index)
    assert compile_expression("[item, index]", types).evaluate(read) == [item, index]


@few
@given(st.dictionaries(st.sampled_from(["rate", "x_1", "inputs"]), st.floats(-9, 9) | st.integers(-9, 9), min_size=1))
def test_what_is_checked_for_a_matrix_computes_for_its_items(item: dict[str, float | int]) -> None:
    checked = item_types([], {name: of_value(value) for name, value in item.items()})
    types, read = at_hand(dict(item), 3)
    for name, value in item.items():
        expression = f"item.{name} * 2 + index"
        assert compile_expression(expression, checked).returns is of_value(value)
        assert compile_expression(expression, types).evaluate(read) == value * 2 + 3


@pytest.mark.parametrize("element", [t for t in ExprType if not is_list(t)])
def test_a_list_knows_its_elements(element: ExprType) -> None:
    known = element not in (ExprType.NULL, ExprType.ANY, ExprType.OTHER)
    assert is_list(list_of(element))
    assert element_of(list_of(element)) is (element if known else ExprType.ANY)


@pytest.mark.parametrize(
    ("word", "type_"),
    [
        ("list(double)", ExprType.NUMBERS),
        ("LIST<MAP<STRING, DYN>>", ExprType.OBJECTS),
        ("list(list(int))", ExprType.LISTS),
        ("list(dyn)", ExprType.LIST),
        ("map(string, list(int))", ExprType.OBJECT),
    ],
)
def test_the_librarys_lists_are_understood(word: str, type_: ExprType) -> None:
    assert of_word(word) is type_


def test_a_gathered_list_has_a_type_only_where_all_of_it_has() -> None:
    gathered: list[tuple[list[JsonValue], ExprType]] = [
        ([1.0, 2.5], ExprType.NUMBERS),
        ([1, 2.5], ExprType.LIST),
        ([1.0, None], ExprType.LIST),
        ([], ExprType.LIST),
    ]
    for found, type_ in gathered:
        assert of_items(found) is type_
