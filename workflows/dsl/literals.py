"""Python values as CEL writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

MAX_INTEGER = 2**63 - 1


def literal(value: object) -> str:  # noqa: PLR0911 -- one for each type
    """A constant of an expression: None, a boolean, a number, a text, or lists and dicts of them.

    Raises:
        TypeError: CEL has no constant for it.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in items) + "}"
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return "[" + ", ".join(literal(item) for item in cast("Sequence[object]", value)) + "]"
    # values of expressions say how they stand; the class is not known here
    written = getattr(value, "__cel__", None)
    if callable(written):
        return str(written())
    raise TypeError(
        f"{type(value).__name__} {value!r} cannot stand in an expression: "
        "use None, a boolean, a number, a text, a list or a dict"
    )


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise TypeError(f"{value} cannot stand in an expression: JSON and CEL have finite numbers")
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise TypeError(f"{value} cannot stand in an expression: integers have 64 bits")
    return repr(value)


def _text(value: str) -> str:
    """In single quotes, as people write them in YAML, where nothing in it must be escaped."""
    if value.isprintable() and "'" not in value and "\\" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)
