"""`${{ }}` alone keeps the type; inside text it becomes text; `$${{` is meant as it is."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.expressions.templates import TemplateMalformed, as_text, parse_template, render_value
from workflows.values import JsonValue

VALUES: dict[str, JsonValue] = {"n": 3, "x": 0.5, "s": "é", "o": {"a": [1, None]}, "{'a': {'b': 1}}": 7, "'}}'": "}}"}


def evaluate(expression: str) -> JsonValue:
    return VALUES[expression]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${{ n }}", 3),
        ("${{o}}", {"a": [1, None]}),
        ("plain", "plain"),
        ("", ""),
        ("a ${{ n }} b ${{ x }} ${{ s }}", "a 3 b 0.5 é"),
        ("=${{ o }}", '={"a": [1, null]}'),
        ("$${{ n }}", "${{ n }}"),
        ("$${{ n }} ${{ n }}", "${{ n }} 3"),
        (" ${{ n }}", " 3"),
        ("${{ {'a': {'b': 1}} }}", 7),
        ("${{ '}}' }}!", "}}!"),
        ("$ {{ n }} }}", "$ {{ n }} }}"),
    ],
)
def test_templates_render(template: str, expected: JsonValue) -> None:
    assert render_value(template, evaluate) == expected


def test_values_are_walked_and_keys_left_alone() -> None:
    value: JsonValue = {"${{ n }}": ["${{ n }}", {"deep": "${{ x }}"}, 1, None, True]}
    assert render_value(value, evaluate) == {"${{ n }}": [3, {"deep": 0.5}, 1, None, True]}


@pytest.mark.parametrize(("template", "offset"), [("ab ${{ n", 3), ("${{ }}", 0), ("x${{}}", 1), ("${{ {'a': 1 }}", 0)])
def test_what_is_not_closed_or_empty_is_refused_at_its_place(template: str, offset: int) -> None:
    with pytest.raises(TemplateMalformed) as caught:
        parse_template(template)
    assert caught.value.offset == offset


@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms())
def test_equal_objects_become_equal_text(value: dict[str, int], random: Random) -> None:
    shuffled = random.sample(list(value.items()), len(value))
    assert as_text(dict(shuffled)) == as_text(dict(value))


def test_an_expression_knows_its_place_in_the_string() -> None:
    (embedded,) = parse_template("ab ${{  n }}").expressions
    assert (embedded.text, embedded.offset) == ("n", 8)


@given(st.text().filter(lambda t: "${{" not in t))
def test_text_without_expressions_stays_as_it_is(text: str) -> None:
    assert render_value(text, evaluate) == text
