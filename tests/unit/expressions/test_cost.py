"""An expression that would cost too much ends with an error that says so, soon."""

import time

import pytest

from workflows.errors import ExpressionFailed
from workflows.expressions.cost import MAX_MAPPED, MAX_RESULT
from workflows.expressions.promote import compile_expression
from workflows.expressions.types import ExprType
from workflows.values import JsonObject, JsonValue

TYPES = {"inputs.l": ExprType.LIST, "inputs.o": ExprType.OBJECT, "inputs.s": ExprType.STRING}


def evaluate(expression: str, length: int) -> JsonValue:
    items: list[JsonValue] = list(range(length))
    values: JsonObject = {"inputs.l": items, "inputs.o": {"deep": [items]}, "inputs.s": "x" * 60_000}
    return compile_expression(expression, TYPES).evaluate(values)


@pytest.mark.parametrize(
    ("expression", "length", "message"),
    [
        (
            "inputs.l.map(a, a + 1)",
            MAX_MAPPED + 1,
            "2,000 items at most, and there are 2,001, most of them in inputs.l",
        ),
        ("inputs.l.filter(a, a > 1).size()", 10_000, "2,000 items at most"),
        ("(inputs.l + inputs.l).map(a, 1)", MAX_MAPPED - 1, "there are 3,998"),
        ("inputs.o.deep[0].map(a, 1)", MAX_MAPPED + 1, "most of them in inputs.o"),
        ("inputs.l.map(a, inputs.l.map(b, a))", 101, "it goes over too many items"),
        ("inputs.l.all(a, inputs.l.all(b, a >= 0))", 10_000, "it goes over too many items"),
        ("inputs.l.map(a, inputs.s)", 20, f"gives 1,200,061 bytes, {MAX_RESULT:,} at most"),
        ("inputs.s" + " + inputs.s" * 20, 0, "bytes, 1,048,576 at most"),
    ],
)
def test_too_much_is_refused_with_the_amount(expression: str, length: int, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ExpressionFailed) as caught:
        evaluate(expression, length)
    assert message in caught.value.message
    assert caught.value.hint
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inputs.l.size()", 9_000),
        ("inputs.l[8999]", 8_999),
        ("inputs.l.all(a, a >= 0)", True),
        ("inputs.l.exists(map, map == 7)", True),
    ],
)
def test_what_copies_nothing_takes_long_lists(expression: str, expected: JsonValue) -> None:
    assert evaluate(expression, 9_000) == expected


def test_the_longest_list_is_gone_over_soon() -> None:
    began = time.monotonic()
    assert evaluate("inputs . l.map(a, a + 1)", MAX_MAPPED) == list(range(1, MAX_MAPPED + 1))
    assert time.monotonic() - began < 5
