"""Expressions give what expr-lang gives: `expressions.txt` holds the answers of the real library (v1.17.8).

Each line is `expression -> value`, computed in Go with Argo's functions over the environment below; ERR stands for
an error while compiling or running.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.sandbox.argo.expressions import (
    ExpressionError,
    as_text,
    check_expression,
    compile_expression,
    environment,
)

ENVIRONMENT = environment({
    "inputs.parameters": "[]", "inputs.parameters.a-b": "5", "inputs.parameters.x": "hi",
    "steps.s.outputs.result": "heads", "steps.t.outputs.parameters.m": None, "item": "3", "retries": "0",
})  # fmt: skip
CASES = [line.rpartition(" -> ") for line in (Path(__file__).parent / "expressions.txt").read_text().splitlines()]


@pytest.mark.parametrize(("expression", "expected"), [(text, value) for text, _, value in CASES])
def test_an_expression_has_the_value_that_the_real_library_gives(expression: str, expected: str) -> None:
    try:
        found = as_text(compile_expression(expression).evaluate(ENVIRONMENT))
    except ExpressionError:
        found = "ERR"
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("sprig.uuidv4()", "the function sprig.uuidv4 is not supported"), ("now()", "the function now is not"),
        ("jsonpath(inputs.parameters.x, '$.a[*]')", "only names and indexes are"), ("a[1:2]", "slices are not"),
        ("1 < 2 < 3", "chained comparisons"), ("1 +", "unexpected end"), ("nope.x == 1", "unknown name nope"),
        ("x.y.z()", "the method 'z' is not supported"), ("len(1, 2)", "invalid number of arguments to len"),
        ("'a" , "unrecognized character"), ("(" * 100 + "1" + ")" * 100, "nested too deeply"), ("'\\q'", "escape"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused_by_name(expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason.replace("(", r"\(").replace("*", r"\*")):
        check_expression(expression)


def test_it_is_known_what_an_expression_reads() -> None:
    assert check_expression("steps['a-b'].outputs.result + inputs.parameters.x ?? item") == [
        ("steps", "a-b", "outputs", "result"), ("inputs", "parameters", "x"), ("item",)
    ]  # fmt: skip
    program = compile_expression("(tasks.a.outputs.x ?? 'y') + tasks.b.status")
    assert program.missing(environment({"tasks.c.status": "Failed"})) == ["tasks.b.status"]


def test_a_longer_name_displaces_the_shorter_one_that_holds_it() -> None:
    assert environment({"a.b": "text", "a.b.c": "1", "a.bc": "2"}) == {"a": {"b": {"c": "1"}, "bc": "2"}}
