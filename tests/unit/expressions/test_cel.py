"""CEL with mixed numbers, and its reports in our words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import ExpressionFailed
from workflows.expressions.cel import CompileFailed, ValueMissing
from workflows.expressions.promote import compile_expression
from workflows.expressions.types import ExprType
from workflows.values import JsonObject, JsonValue

TYPES = {
    "inputs.x": ExprType.NUMBER,
    "inputs.n": ExprType.INTEGER,
    "inputs.s": ExprType.STRING,
    "inputs.b": ExprType.BOOLEAN,
    "inputs.l": ExprType.LIST,
    "inputs.o": ExprType.OBJECT,
    "inputs.any": ExprType.ANY,
}
VALUES: JsonObject = {
    "inputs.x": 0.5,
    "inputs.n": 3,
    "inputs.s": "text",
    "inputs.b": True,
    "inputs.l": [1, 2.5, "x", None, {"a": 1}],
    "inputs.o": {"a": {"b": 1}},
    "inputs.any": 2.5,
}


def evaluate(expression: str) -> JsonValue:
    return compile_expression(expression, TYPES).evaluate(VALUES)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inputs.x * 2", 1.0),
        ("2 * inputs.x", 1.0),
        ("inputs.x >= 1 && inputs.n < 2.5", False),
        ("inputs.n * inputs.n + inputs.x", 9.5),
        ("inputs.x - inputs.n * -2", 6.5),
        ("-inputs.n * inputs.x", -1.5),
        ("(inputs.n + 1) * inputs.x / 2", 1.0),
        ("inputs.b ? inputs.x : 0", 0.5),
        ("inputs.b ? 0 : inputs.b ? 1 : inputs.x", 0.0),
        ("inputs.b ? (inputs.b ? 1 : 2) : inputs.x", 1.0),
        ("{'a': inputs.b ? 1 : 2.0, 'b': inputs.x == 1}", {"a": 1.0, "b": False}),
        ("[1, 2].map(i, i * inputs.x)", [0.5, 1.0]),
        ("inputs.n - -1 * inputs.x - 1", 2.5),
        ("inputs.n in [1] ? 1 : 2.0", 2.0),
        ("inputs.n == inputs.x", False),
        ("inputs.n / 2 * 0.5", 0.5),
    ],
)
def test_an_integer_beside_a_number_becomes_a_number(expression: str, expected: JsonValue) -> None:
    result = evaluate(expression)
    assert result == expected
    assert type(result) is type(expected)


@given(
    st.recursive(
        st.sampled_from(["inputs.x", "inputs.n", "1", "2", "0.5", "inputs.any"]),
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner)
            | st.builds("{} {} {}".format, inner, st.sampled_from("+-*"), inner)
        ),
        max_leaves=8,
    )
)
def test_any_mix_of_numbers_computes_as_python_does(expression: str) -> None:
    types = TYPES | {"inputs.any": ExprType.NUMBER}
    expected = eval(expression.replace("inputs.", "values_"), {f"values_{k[7:]}": v for k, v in VALUES.items()})
    result = compile_expression(expression, types).evaluate(VALUES)
    assert result == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inputs.l", [1, 2.5, "x", None, {"a": 1}]),
        ("inputs.o.a.b", 1),
        ("inputs.s + '!'", "text!"),
        ("null", None),
        ("math.greatest(inputs.x, 2.0)", 2.0),
        ("size(inputs.s)", 4),
        ("has(inputs.o.zz)", False),
    ],
)
def test_values_keep_their_json_types(expression: str, expected: JsonValue) -> None:
    assert evaluate(expression) == expected


@pytest.mark.parametrize(
    ("expression", "offset", "message"),
    [
        ("inputs.s + 1", 9, "'+' cannot be applied to a string and an integer"),
        ("inputs.x > 1\n && inputs.s > 1", 26, "'>' cannot be applied to a string and an integer"),
        ("1 == 1 && foo(1)", 13, "there is no function 'foo'"),
        ("x", 0, "there is no name 'x'"),
        ("inputs.s.y", 8, "a string has no fields"),
        ("1 +", 3, "the expression ends too early"),
        ("1 = 2", 2, "unexpected '='"),
        ("inputs.b ? 1 : 'x'", 9, "the branches of '?:' differ"),
        ("inputs.n ? 1 : 2", 9, "the condition of '?:' is an integer"),
        ("'😀é' + 1", 5, "'+' cannot be applied to a string and an integer"),
        ("(" * 40 + "1" + ")" * 40, 0, "nested too deeply"),
        ("inputs.x * 2 + inputs.s", 13, "'+' cannot be applied to a number and a string"),
    ],
)
def test_the_checkers_report_is_put_into_words_with_its_place(expression: str, offset: int, message: str) -> None:
    with pytest.raises(CompileFailed) as caught:
        compile_expression(expression, TYPES)
    assert message in caught.value.issues[0].message
    assert caught.value.issues[0].offset == offset


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("inputs.n / 0", "divide by zero"),
        ("1.0 / 0.0", "inf, which is no JSON number"),
        ("inputs.any * 2", "'*' cannot be applied to a number and an integer"),
        ("inputs.any && true", "no boolean"),
        ("inputs.o.zz", "there is no key 'zz'"),
        ("inputs.l[9]", "index 9 of a list of 5"),
        ("{1: 2}", "no string"),
        ("b'x'", "no JSON value"),
        ("duration('1s')", "no JSON value"),
        ("[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, inputs.l.map(c, [0,1,2,3,4,5,6,7,8,9].map(d,"
         " [0,1,2,3,4,5,6,7,8,9].map(e, 1)))))", "too many items"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_says_why(expression: str, message: str) -> None:
    with pytest.raises(ExpressionFailed, match="expression") as caught:
        evaluate(expression)
    assert message in caught.value.message


def test_a_variable_without_a_value_is_missed_only_where_it_is_read() -> None:
    program = compile_expression("inputs.b && inputs.n > 1", TYPES)
    assert program.evaluate({"inputs.b": False}) is False
    with pytest.raises(ValueMissing) as caught:
        program.evaluate({"inputs.b": True})
    assert caught.value.name == "inputs.n"


@given(st.text(alphabet="inputs.xn 12+-*/()[]{}?:'\"&|<>=!,", max_size=40))
def test_no_text_escapes_the_error_tree(text: str) -> None:
    try:
        compile_expression(text, TYPES).evaluate(VALUES)
    except ExpressionFailed as error:
        assert error.message
