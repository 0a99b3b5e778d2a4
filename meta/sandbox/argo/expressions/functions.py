"""The functions of expressions: expr-lang's own, Argo's additions, and some of Sprig's (util/expr/env/env.go)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from meta.sandbox.argo.expressions.values import (
    ExpressionError,
    Value,
    as_list,
    equal,
    is_number,
    kind,
    to_json,
    to_string,
)

Predicate = Callable[[Value], Value]
LARGEST_TEXT = 256 * 1024  # characters that `repeat` may make
_GO_INT = re.compile(r"[+-]?\d+")


def whole(value: Value) -> int:
    """`int(x)`: numbers are cut off, text must be a whole number."""
    if isinstance(value, float):
        return int(value)
    if is_number(value):
        return int(value)
    if isinstance(value, str) and _GO_INT.fullmatch(value):
        return int(value)
    raise ExpressionError(f"invalid operation: int({to_string(value)})")


def number(value: Value) -> float:
    """`float(x)`."""
    if is_number(value):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass  # said below, with every other wrong value
    raise ExpressionError(f"invalid operation: float({to_string(value)})")


def text(value: Value) -> str:
    """A string.

    Raises:
        ExpressionError: it is none.
    """
    if isinstance(value, str):
        return value
    raise ExpressionError(f"a string is wanted, not {kind(value)}")


def _from_json(value: Value) -> Value:
    try:
        return cast("Value", json.loads(text(value), parse_int=float))
    except json.JSONDecodeError as error:
        raise ExpressionError(f"fromJSON: {error}") from error


_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[\s*'([^']*)'\s*\]|\[\s*\"([^\"]*)\"\s*\]|\[(-?\d+)\]")


def check_path(path: str) -> list[str | int]:
    """The steps of a JSON path with one result: `$.a['b'][0]`.

    Raises:
        ExpressionError: it has wildcards, filters or ranges, which the sandbox does not evaluate.
    """
    if path[:1] != "$" or _STEP.sub("", path[1:]):
        raise ExpressionError(f"jsonpath '{path}' is not supported by the sandbox: only names and indexes are")
    steps: list[str | int] = []
    for match in _STEP.finditer(path):
        steps.append(int(match.group(4)) if match.group(4) else match.group(1) or match.group(2) or match.group(3))
    return steps


def _json_path(value: Value, path: Value) -> Value:
    found = _from_json(value)
    for step in check_path(text(path)):
        try:
            if isinstance(step, int):
                found = as_list(found, "jsonpath")[step]
            elif isinstance(found, dict):
                found = found[step]
            else:
                raise KeyError(step)
        except (IndexError, KeyError) as error:
            raise ExpressionError(f"jsonpath: key '{step}' of '{path}' not found") from error
    return found


def _length(value: Value) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise ExpressionError(f"invalid argument for len (type {kind(value)})")


def _split(value: Value, separator: Value) -> list[Value]:
    return list(text(value).split(text(separator))) if separator else list(text(value))


def _repeat(value: Value, count: Value) -> str:
    if len(text(value)) * whole(count) > LARGEST_TEXT or whole(count) < 0:
        raise ExpressionError("repeat makes too much")
    return text(value) * whole(count)


def _numbers(values: list[Value]) -> list[int | float]:
    flat = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    found = [value for value in flat if is_number(value)]
    if len(found) != len(flat) or not found:
        raise ExpressionError("numbers are wanted")
    return found


def _arithmetic(value: Value) -> int | float:
    if is_number(value):
        return value
    raise ExpressionError("a number is wanted")


def _sprig_int(value: Value) -> int:
    """Sprig's toInt64, where it is sure: Sprig reads `010` as octal and makes 0 of what is no number."""
    if is_number(value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d*", value):
        return int(value)
    raise ExpressionError(f"sprig: {to_string(value)} is not certainly a whole number")


_LAYOUT = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S"}
_LAYOUT_PART = re.compile(rf"{'|'.join(_LAYOUT)}|[-:/ TZ]")


def _sprig_date(layout: Value, moment: Value) -> str:
    """Sprig takes a whole number as Unix seconds, and the present for what is no time, as a string is."""
    parts = _LAYOUT_PART.findall(text(layout))
    if "".join(parts) != layout:
        raise ExpressionError(f"sprig.date: the layout '{layout}' is not supported by the sandbox")
    seconds = moment if isinstance(moment, int) and not isinstance(moment, bool) else None
    time = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return "".join(time.strftime(_LAYOUT[part]) if part in _LAYOUT else part for part in parts)


def _decoded(value: Value) -> str:
    """Sprig gives the error's text for what is no base64; that is refused here."""
    try:
        return base64.b64decode(text(value), validate=True).decode()
    except ValueError as error:
        raise ExpressionError(f"sprig.b64dec: {error}") from error


def _round(value: Value) -> float:
    found = _arithmetic(value)
    return float(math.copysign(math.floor(abs(found) + 0.5), found))


def _type(value: Value) -> str:
    return {"<nil>": "nil", "float64": "float", "[]interface {}": "array", "map[string]interface {}": "map"}.get(
        kind(value), kind(value)
    )


_ONE: Mapping[str, Callable[[Value], Value]] = {
    "asInt": whole, "int": whole, "asFloat": number, "float": number, "string": to_string, "toJson": to_json,
    "fromJSON": _from_json, "len": _length, "type": _type, "trim": lambda s: text(s).strip(),
    "upper": lambda s: text(s).upper(), "lower": lambda s: text(s).lower(), "abs": lambda n: abs(_arithmetic(n)),
    "ceil": lambda n: float(math.ceil(_arithmetic(n))), "floor": lambda n: float(math.floor(_arithmetic(n))),
    "round": _round, "first": lambda items: next(iter(as_list(items, "first")), None),
    "last": lambda items: next(reversed(as_list(items, "last")), None),
    "reverse": lambda items: list(reversed(as_list(items, "reverse"))), "sprig.trim": lambda s: text(s).strip(),
    "sprig.upper": lambda s: text(s).upper(), "sprig.lower": lambda s: text(s).lower(),
    "sprig.b64enc": lambda s: base64.b64encode(text(s).encode()).decode(), "sprig.int": _sprig_int,
    "sprig.b64dec": _decoded,
    "sprig.int64": _sprig_int,
}  # fmt: skip
_TWO: Mapping[str, Callable[[Value, Value], Value]] = {
    "jsonpath": _json_path, "split": _split, "repeat": _repeat,
    "trimPrefix": lambda s, start: text(s).removeprefix(text(start)),
    "trimSuffix": lambda s, end: text(s).removesuffix(text(end)),
    "join": lambda items, glue: text(glue).join(text(item) for item in as_list(items, "join")),
    "indexOf": lambda s, part: text(s).find(text(part)), "hasPrefix": lambda s, start: text(s).startswith(text(start)),
    "hasSuffix": lambda s, end: text(s).endswith(text(end)), "sprig.contains": lambda part, s: text(part) in text(s),
    "sprig.hasPrefix": lambda start, s: text(s).startswith(text(start)),
    "sprig.hasSuffix": lambda end, s: text(s).endswith(text(end)),
    "sprig.date": _sprig_date,
    "sprig.sub": lambda a, b: _sprig_int(a) - _sprig_int(b),
}  # fmt: skip
_THREE: Mapping[str, Callable[[Value, Value, Value], Value]] = {
    "replace": lambda s, old, new: text(s).replace(text(old), text(new)),
    "sprig.replace": lambda old, new, s: text(s).replace(text(old), text(new)),
}
_MANY: Mapping[str, Callable[[list[Value]], Value]] = {
    "min": lambda n: min(_numbers(n)), "max": lambda n: max(_numbers(n)),
    "sprig.add": lambda n: sum(map(_sprig_int, n)), "sprig.mul": lambda n: math.prod(map(_sprig_int, n)),
    "sprig.max": lambda n: max(map(_sprig_int, n)), "sprig.min": lambda n: min(map(_sprig_int, n)),
}  # fmt: skip


def call(name: str, arguments: list[Value]) -> Value:
    """Call a function; `check_call` has passed.

    Raises:
        ExpressionError: it does not take these values.
    """
    if name in _MANY:
        return _MANY[name](arguments)
    match arguments:
        case [one]:
            return _ONE[name](one) if name in _ONE else _TWO[name](one, "")
        case [one, two]:
            return _TWO[name](one, two)
        case [one, two, three]:
            return _THREE[name](one, two, three)
        case _:
            raise AssertionError(name)


def check_call(name: str, count: int) -> None:
    """Check that a function exists and takes so many arguments.

    Raises:
        ExpressionError: it does not.
    """
    tables = {1: _ONE, 2: {**_TWO, **CLOSURES}, 3: _THREE}
    if name in _MANY and count > 0:
        return
    if not any(name in table for table in (*tables.values(), _MANY)):
        raise ExpressionError(f"the function {name} is not supported by the sandbox")
    if name not in tables.get(count, {}) and not (name == "join" and count == 1):
        raise ExpressionError(f"invalid number of arguments to {name}: {count}")


def _holds(predicate: Predicate) -> Callable[[Value], bool]:
    def test(item: Value) -> bool:
        found = predicate(item)
        if not isinstance(found, bool):
            raise ExpressionError(f"predicate should return boolean (got {kind(found)})")
        return found

    return test


CLOSURES: Mapping[str, Callable[[Sequence[Value], Predicate], Value]] = {
    "filter": lambda items, does: list(filter(_holds(does), items)),
    "map": lambda items, does: [does(item) for item in items],
    "all": lambda items, does: all(map(_holds(does), items)),
    "any": lambda items, does: any(map(_holds(does), items)),
    "none": lambda items, does: not any(map(_holds(does), items)),
    "one": lambda items, does: sum(map(_holds(does), items)) == 1,
    "count": lambda items, does: sum(map(_holds(does), items)),
    "find": lambda items, does: next(filter(_holds(does), items), None),
}
"""Functions whose second argument is computed for each item, `#`."""


def contains(items: Value, wanted: Value) -> bool:
    """`wanted in items`.

    Raises:
        ExpressionError: not a list or a map.
    """
    if isinstance(items, dict):
        return isinstance(wanted, str) and wanted in items
    if items is None:
        return False
    return any(equal(wanted, item) for item in as_list(items, 'operator "in"'))
