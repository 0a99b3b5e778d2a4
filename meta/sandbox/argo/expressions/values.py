"""Values of expressions, and how Go writes them."""

from __future__ import annotations

import json
import math
from typing import TypeAlias

from hera.workflows import models as m
from typing_extensions import TypeIs

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | m.Artifact | None"
"""JSON's values; or an artifact, which only passes through."""


class ExpressionError(Exception):
    """An expression cannot be read, or not be computed on these values."""


def is_number(value: Value) -> TypeIs[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind(value: Value) -> str:
    """The value's type in Go's words, for messages."""
    if value is None:
        return "<nil>"
    if isinstance(value, dict):
        return "map[string]interface {}"
    names: dict[type, str] = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}"}
    return names.get(type(value), "v1alpha1.Artifact")


def equal(left: Value, right: Value) -> bool:
    """`==`: numbers by value, everything else within its kind."""
    if is_number(left) and is_number(right):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    return kind(left) == kind(right) and left == right


def go_float(value: float, *, smallest: int, largest: int) -> str:
    """Shortest digits; with an exponent below `smallest` or from `largest` on (strconv.FormatFloat)."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    digits, _, exponent = f"{value!r}e0".partition("e") if "e" not in repr(value) else repr(value).partition("e")
    mantissa, _, fraction = digits.lstrip("-").partition(".")
    power = int(exponent.partition("e")[0])
    text = (mantissa + fraction).lstrip("0")
    point = len(mantissa) + power - (len(mantissa + fraction) - len(text))
    text = text.rstrip("0")
    if not text:
        return "0"
    sign = "-" if value < 0 else ""
    if not smallest <= point - 1 < largest:
        rest = f".{text[1:]}" if len(text) > 1 else ""
        return f"{sign}{text[0]}{rest}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{text}"
    if point >= len(text):
        return f"{sign}{text}{'0' * (point - len(text))}"
    return f"{sign}{text[:point]}.{text[point:]}"


def to_string(value: Value) -> str:
    """`string(x)`: fmt's %v."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float():
            return go_float(value, smallest=-4, largest=6)
        case dict():
            entries = sorted((str(key), to_string(item)) for key, item in value.items())
            return f"map[{' '.join(f'{key}:{text}' for key, text in entries)}]"
        case list():
            return f"[{' '.join(to_string(item) for item in value)}]"
        case _:
            return str(value)


def to_json(value: Value) -> str:
    """`toJson(x)`: encoding/json, with its escapes and sorted keys.

    Raises:
        ExpressionError: an artifact, or a number that JSON does not have.
    """
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case float():
            if not math.isfinite(value):
                raise ExpressionError(f"json: unsupported value: {to_string(value)}")
            return go_float(value, smallest=-6, largest=21).replace("e-0", "e-").replace("e+0", "e+")
        case str():
            return escaped(json.dumps(value, ensure_ascii=False))
        case dict():
            entries = sorted((str(key), item) for key, item in value.items())
            return "{" + ",".join(f"{to_json(key)}:{to_json(item)}" for key, item in entries) + "}"
        case list():
            return "[" + ",".join(to_json(item) for item in value) + "]"
        case _:
            raise ExpressionError(f"{kind(value)} has no JSON form here")


def escaped(text: str) -> str:
    """JSON as encoding/json writes it: safe to stand in HTML."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def as_text(value: Value) -> str:
    """What an expression tag is replaced with: a string as it is, everything else as JSON."""
    return value if isinstance(value, str) else to_json(value)


def as_list(value: Value, what: str) -> list[Value]:
    """A list.

    Raises:
        ExpressionError: it is none.
    """
    if not isinstance(value, list):
        raise ExpressionError(f"{what} wants a list, not {kind(value)}")
    return value
