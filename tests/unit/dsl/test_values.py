"""Operators on what a run will read write CEL, and Python's own words say what to write in their place."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta.dsl import MetaWorkflow, Value, argo, choose, greatest, index, integer, item, least, run, string
from workflows.dsl.values import type_of
from workflows.expressions.check import Scope, StepScope, check_expression
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import find_references
from workflows.expressions.types import ExprType
from workflows.values import JsonValue, ValueType

flow = MetaWorkflow("chain")
rate = flow.input("rate", float, default=0.5)
count = flow.input("count", int, default=3)
note = flow.input("note", str, default="")
on = flow.input("on", bool, default=True)
sizes: Value[list[Any]] = flow.input("sizes", list, default=[1, 2])
train = flow.step("train", argo(template="t"), outputs={"accuracy": float, "name": str})
accuracy, name = train.outputs.accuracy, train.outputs["name"]

SCOPE = Scope(
    inputs={"rate": ExprType.NUMBER, "count": ExprType.INTEGER, "note": ExprType.STRING, "on": ExprType.BOOLEAN,
            "sizes": ExprType.LIST},
    steps={"train": StepScope({"accuracy": ExprType.NUMBER, "name": ExprType.STRING})},
)  # fmt: skip


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (accuracy >= 0.9, "steps.train.outputs.accuracy >= 0.9"),
        (0.9 <= accuracy, "steps.train.outputs.accuracy >= 0.9"),
        ((accuracy > 1) & ~on, "steps.train.outputs.accuracy > 1 && !inputs.on"),
        (~(rate > 1), "!(inputs.rate > 1)"),
        ((on | (count == 2)) & (note != "x"), "(inputs.on || inputs.count == 2) && inputs.note != 'x'"),
        (on | (count == 2) & (note != "x"), "inputs.on || inputs.count == 2 && inputs.note != 'x'"),
        ((rate + 1) * 2 - -rate / 3, "(inputs.rate + 1) * 2 - -inputs.rate / 3"),
        (rate - (rate - 1), "inputs.rate - (inputs.rate - 1)"),
        (10 - count % 2, "10 - inputs.count % 2"),
        ((count > 1) == on, "(inputs.count > 1) == inputs.on"),
        (note + "it's", 'inputs.note + "it\'s"'),
        (sizes.size() > 2, "inputs.sizes.size() > 2"),
        (name.starts_with("a") & name.contains(note), "steps.train.outputs.name.startsWith('a') && "
                                                      "steps.train.outputs.name.contains(inputs.note)"),
        (sizes.map(lambda size: size * count), "inputs.sizes.map(size, size * inputs.count)"),
        (sizes.filter(lambda s: s > 1).size() == 1, "inputs.sizes.filter(s, s > 1).size() == 1"),
        (sizes[0], "inputs.sizes[0]"),
        (count.is_in([1, 2, 3]), "inputs.count in [1, 2, 3]"),
        (sizes.has_item(count + 1), "inputs.count + 1 in inputs.sizes"),
        (choose(rate > 1, "big", "small"), "inputs.rate > 1 ? 'big' : 'small'"),
        (least(rate, 0.1) + greatest(1, count), "math.least(inputs.rate, 0.1) + math.greatest(1, inputs.count)"),
        (string(count) + note, "string(inputs.count) + inputs.note"),
        (integer(note) == None, "int(inputs.note) == null"),  # noqa: E711
        (train.state == "succeeded", "steps.train.state == 'succeeded'"),
        (item.shard + index, "item.shard + index"),
        (item["size"] == item["two words"], "item.size == item['two words']"),
        (train.artifacts.model.size > 10, "steps.train.artifacts.model.size > 10"),
        (train.artifacts["model"][2].uri, "steps.train.artifacts.model[2].uri"),
    ],
)  # fmt: skip
def test_operators_write_the_expression_that_a_person_would(built: Value[Any], expected: str) -> None:
    assert built.cel == expected


def test_in_a_text_it_stands_for_its_value() -> None:
    assert f"at {train.artifacts.model.uri} of {run.id}" == (
        "at ${{ steps.train.artifacts.model.uri }} of ${{ run.id }}"
    )
    with pytest.raises(TypeError, match=r"cannot be formatted by '\.2f'"):
        f"{rate:.2f}"


WRONG = [
    ("bool(rate > 1)", "when=...; write & for 'and'"),
    ("0 < rate < 1", "(a < x) & (x < b)"),
    ("not on", "~ for 'not'"),
    ("(rate > 1) and on", "& for 'and'"),
    ("1 if on else 2", "choose(condition, a, b)"),
    ("3 in sizes", "y.has_item(x)"),
    ("list(sizes)", "foreach="),
    ("len(sizes)", "write .size()"),
    ("(rate > 1) & count", "'inputs.count' is of type integer"),
    ("rate > 1 & count == 2", "It binds tighter than a comparison: write (a > 1) & (b == 2)"),
    ("on | 'yes'", "'yes' is no condition"),
    ("rate == object()", "cannot stand in an expression"),
    ("rate == float('nan')", "finite numbers"),
    ("count // 2", "expressions have no '//'"),
    ("{rate: 1}", "unhashable"),
    ("train.outputs['Not a name']", "is no name of an output of step 'train'"),
    ("flow.step('x', argo(template='t'), when=train.state is None)", "a value of Python's"),
    ("flow.step('x', argo(template='t'), parameters={'x': object()})", "no value of a definition"),
    ("flow.input('x', complex)", "is no type of a value"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_python_would_decide_by_itself_is_refused_in_plain_words(wrong: str, words: str) -> None:
    # as text: the type checker refuses nearly all of them too
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        eval(wrong, globals())


def _apply(of: tuple[str, Any, Any]) -> Any:
    operator, a, b = of
    return a + b if operator == "+" else a - b if operator == "-" else a * b


NUMBERS = st.integers(-1000, 1000) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
NUMERIC = st.recursive(
    st.sampled_from([rate, count, accuracy]) | NUMBERS,
    lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner).map(_apply),
    max_leaves=8,
)


def _value(of: Any) -> float:
    """What Python makes of the same with numbers in the inputs' place."""
    return eval(of.cel, {}, VALUES) if isinstance(of, Value) else of


class _Inputs:
    rate, count = 0.5, 3


class _Train:
    class outputs:
        accuracy = 0.25


class _Steps:
    train = _Train


VALUES: dict[str, Any] = {"inputs": _Inputs, "steps": _Steps}


@settings(max_examples=25, deadline=None)
@given(a=NUMERIC, b=NUMERIC, swap=st.booleans())
def test_brackets_stand_where_the_meaning_needs_them(a: Any, b: Any, swap: bool) -> None:
    built = rate * (b - a) + count - (a if swap else b) * (b + 1)
    plain = 0.5 * (_value(b) - _value(a)) + 3 - (_value(a) if swap else _value(b)) * (_value(b) + 1)
    assert _value(built) == pytest.approx(plain)  # pyright: ignore[reportUnknownMemberType]
    checked = check_expression((built > 0).cel, SCOPE)
    assert checked.issues == ()
    values: dict[str, JsonValue] = {
        str(f.reference): {"inputs.rate": 0.5, "inputs.count": 3, "steps.train.outputs.accuracy": 0.25}[
            str(f.reference)
        ]
        for f in find_references(built.cel)
    }
    types = {n: ExprType.INTEGER if n == "inputs.count" else ExprType.NUMBER for n in values}
    found = compile_expression(built.cel, types).evaluate(values)
    assert found == pytest.approx(plain)  # pyright: ignore[reportUnknownMemberType]


CONSTANTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab'", max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(CONSTANTS)
def test_a_constant_is_read_back_as_it_was(value: JsonValue) -> None:
    built = choose(on, value, value)
    found = compile_expression(built.cel, {"inputs.on": ExprType.BOOLEAN}).evaluate({"inputs.on": True})
    assert found == value


def test_a_field_may_be_called_as_python_calls_things() -> None:
    assert item.type.cel == "item.type"


def test_a_type_is_known_where_it_is_declared() -> None:
    assert tuple(map(type_of, (rate, count + 1, count * 0.5, rate > 1))) == (
        ValueType.NUMBER, ValueType.INTEGER, ValueType.NUMBER, ValueType.BOOLEAN,
    )  # fmt: skip
