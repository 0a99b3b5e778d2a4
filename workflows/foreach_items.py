"""What a fan-out runs over: a list, a range or a matrix, within limits that histories bear."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.templates import render_value
from workflows.inputs import show, size_of
from workflows.spec.steps import Foreach, Range
from workflows.values import JsonValue

MAX_ITEMS = 10_000
"""Most items of one fan-out."""

MAX_ITEM_BYTES = 512 * 1024
"""Bytes of JSON of all items together; they stand in the run's history twice, with its chunks."""

_FEWER = "let an item stand for a batch, or let a step of kind workflow run each part as a meta-run of its own"
_SMALLER = "let the items be names or addresses, and read the rest where they are worked on"

Evaluate = Callable[[str], JsonValue]


def items_of(name: str, foreach: Foreach, at: Callable[[str], Evaluate]) -> list[JsonValue]:
    """The items, in order.

    Args:
        name: of the step, for messages.
        foreach: as the definition has it.
        at: gives the evaluation of expressions at a place that errors name.

    Raises:
        ExpressionFailed: what an expression gives is no list, or no integer.
        InputsInvalid: more than `MAX_ITEMS`, or more than `MAX_ITEM_BYTES`.
    """
    place = f"step '{name}', foreach"
    if foreach.matrix is not None:
        axes = {
            axis: _list(f"{place}.matrix.{axis}", values, at(f"{place}.matrix.{axis}"))
            for axis, values in foreach.matrix.items()
        }
        _few(place, math.prod(len(values) for values in axes.values()))
        items: list[JsonValue] = [dict(zip(axes, each, strict=True)) for each in product(*axes.values())]
    elif foreach.range is not None:
        items = list(_range(place, foreach.range, at))
    else:
        items = _list(place, foreach.items, at(place))
    _few(place, len(items))
    if (size := size_of(items)) > MAX_ITEM_BYTES:
        raise InputsInvalid(f"{place}: the items have {size:,} bytes, {MAX_ITEM_BYTES:,} at most", hint=_SMALLER)
    return items


def label(item: JsonValue, characters: int = 60) -> str:
    """An item in a few words: `lr=0.1, depth=3` for an object, else its JSON."""
    if isinstance(item, dict):
        text = ", ".join(f"{name}={show(value)}" for name, value in item.items())
    else:
        text = show(item)
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _range(place: str, given: Range | int, at: Callable[[str], Evaluate]) -> range:
    if isinstance(given, int):
        found = range(given)
    else:
        start, to = (
            _integer(f"{place}.range.{word}", value, at(f"{place}.range.{word}"))
            for word, value in (("from", given.start), ("to", given.to))
        )
        found = range(start, to, given.step)
    _few(place, max(0, -(-(found.stop - found.start) // found.step)))
    return found


def _list(place: str, given: JsonValue, evaluate: Evaluate) -> list[JsonValue]:
    value = render_value(given, evaluate)
    if isinstance(value, list):
        return value
    raise ExpressionFailed(
        f"{place}: {show(value)} is no list", hint="write a list, or ${{ an expression }} that gives one"
    )


def _integer(place: str, given: int | str, evaluate: Evaluate) -> int:
    value = render_value(given, evaluate)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ExpressionFailed(f"{place}: {show(value)} is no integer", hint="declare the output or input as an integer")


def _few(place: str, count: int) -> None:
    if count > MAX_ITEMS:
        raise InputsInvalid(f"{place}: {count:,} items, {MAX_ITEMS:,} at most", hint=_FEWER)
