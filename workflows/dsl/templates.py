"""Arguments of the builder as a definition has them: expressions in their braces, durations as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from workflows.dsl.values import Expression, Value
from workflows.spec.durations import format_duration
from workflows.values import JsonObject, JsonValue

Duration = timedelta | str
"""`timedelta(hours=2)` or `2h`."""


def plain(value: object) -> JsonValue:
    """A value of JSON, in which what a run reads stands as `${{ expression }}`.

    Raises:
        TypeError: something in it is neither.
    """
    if isinstance(value, Expression):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(one) for one in cast("Sequence[object]", value)]
    raise TypeError(
        f"{type(value).__name__} {value!r} is no value of a definition: "
        "use what a step gives, None, a boolean, a number, a text, a list or a dict"
    )


def condition(value: object) -> str:
    """A condition's text.

    Raises:
        TypeError: Python has computed it already.
    """
    if isinstance(value, Value):
        return value.cel
    if isinstance(value, str):
        return value
    raise TypeError(
        f"the condition is {value!r}, a value of Python's: compare an input or an output of a step, as in "
        "when=train.outputs.accuracy >= 0.9"
    )


def keys(**given: Any) -> JsonObject:
    """What was given, by the keys of a definition."""
    found: JsonObject = {}
    for name, value in given.items():
        if value is not None:
            head, *rest = name.split("_")
            found[head + "".join(word.capitalize() for word in rest)] = plain(value)
    return found
