"""Inputs of a run are completed and checked, everything wrong at once."""

import pytest

from workflows.errors import InputsInvalid
from workflows.inputs import check_inputs, parse_input
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue, ValueType

DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "x"},
        "inputs": {
            "rate": {"type": "number", "default": 0.5},
            "rows": {"type": "integer"},
            "note": {"type": "string", "required": False},
            "tags": {"type": "list", "default": []},
            "more": {"type": "object", "default": {"a": 1}},
            "fast": {"type": "boolean", "default": True},
        },
        "steps": {"a": {"argo": {"template": "t"}}},
    }
)


def test_defaults_complete_what_is_given() -> None:
    assert check_inputs(DEFINITION, {"rows": 3}) == {
        "rate": 0.5, "rows": 3, "note": None, "tags": [], "more": {"a": 1}, "fast": True,
    }  # fmt: skip


def test_an_integer_where_a_number_is_declared_becomes_a_number() -> None:
    rate = check_inputs(DEFINITION, {"rows": 3, "rate": 1})["rate"]
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'rows' is required"),
        ({"rows": 1.5}, "input 'rows': expected an integer, got 1.5"),
        ({"rows": "3"}, "input 'rows': expected an integer, got \"3\""),
        ({"rows": True}, "expected an integer, got true"),
        ({"rows": None}, "expected an integer, got null"),
        ({"rows": 1 << 63}, "at most 64 bits"),
        ({"rows": 1, "rate": "fast"}, "input 'rate': expected a number, got \"fast\""),
        ({"rows": 1, "rate": float("nan")}, "no JSON"),
        ({"rows": 1, "tags": [float("inf")]}, "no JSON"),
        ({"rows": 1, "note": "\ud800"}, "no JSON"),
        ({"rows": 1, "tags": {}}, "input 'tags': expected a list, got {}"),
        ({"rows": 1, "more": []}, "input 'more': expected an object, got []"),
        ({"rows": 1, "fast": "yes"}, "input 'fast': expected true or false"),
        ({"rows": 1, "note": "x" * 10_000_000}, "input 'note' has 10,000,002 bytes, 65,536 at most"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(inputs: JsonObject, message: str) -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(DEFINITION, inputs)
    assert message in caught.value.message
    assert len(caught.value.message) < 300


def test_everything_wrong_is_said_at_once_with_hints() -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_inputs(DEFINITION, {"row": 1, "rate": "x"})
    assert "unknown input 'row'" in caught.value.message
    assert "input 'rate'" in caught.value.message
    assert "input 'rows' is required" in caught.value.message
    assert "did you mean 'rows'?" in caught.value.hint


def test_many_inputs_that_are_large_together_are_refused() -> None:
    inputs = {f"i{n}": {"type": "string"} for n in range(5)}
    definition = MetaWorkflow.model_validate(DEFINITION.model_dump(by_alias=True) | {"inputs": inputs})
    with pytest.raises(InputsInvalid, match="together, 262,144 at most"):
        check_inputs(definition, {name: "x" * 60_000 for name in inputs})


@pytest.mark.parametrize(
    ("text", "declared", "value"),
    [
        ("3", ValueType.INTEGER, 3),
        ("3", ValueType.NUMBER, 3),
        ("0.5", ValueType.NUMBER, 0.5),
        ("3", ValueType.STRING, "3"),
        ("true", ValueType.BOOLEAN, True),
        ("[1, 2]", ValueType.LIST, [1, 2]),
        ('{"a": 1}', ValueType.OBJECT, {"a": 1}),
        ("3", None, 3),
        ("text", None, "text"),
        ("s3://a/b", None, "s3://a/b"),
    ],
)
def test_the_command_lines_text_is_read_by_the_declared_type(
    text: str, declared: ValueType | None, value: JsonValue
) -> None:
    read = parse_input(text, declared)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "declared"),
    [("x", ValueType.INTEGER), ("1.5", ValueType.INTEGER), ("yes", ValueType.BOOLEAN), ("NaN", ValueType.NUMBER),
     ("1", ValueType.LIST), ("[1", ValueType.OBJECT)],
)  # fmt: skip
def test_text_that_is_not_of_the_type_is_refused_with_its_form(text: str, declared: ValueType) -> None:
    with pytest.raises(InputsInvalid) as caught:
        parse_input(text, declared)
    assert caught.value.hint
