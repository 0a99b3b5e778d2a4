"""Errors of values that may have one of several shapes: pydantic tries each and reports all; here is the one meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from workflows.spec.locate import Path
from workflows.values import JsonValue

EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "list_type": "a list",
}
"""Shapes, by the pydantic error that says the shape is another one."""

_TAG = re.compile(r"(list|dict)\[.*|str|int|float|bool|[A-Z][A-Za-z]*|function-.*|json-or-python.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error at a place of the document.

    Attributes:
        path: as the document has it; `[key]` at its end: the error is about the key.
        expected: the shapes that could stand there, when none of them does.
    """

    path: Path
    details: ErrorDetails
    expected: tuple[str, ...] = ()


def faults_of(error: ValidationError, value: JsonValue) -> list[Fault]:
    """What is wrong, without the branches that the user did not mean.

    Args:
        error: of `model_validate`.
        value: what was validated.
    """
    found = [(tuple(details["loc"]), details) for details in error.errors(include_url=False)]
    return list(_faults(found, value))


def _faults(found: list[tuple[Path, ErrorDetails]], value: JsonValue) -> Iterator[Fault]:
    branches: dict[Path, dict[str, list[tuple[Path, ErrorDetails]]]] = {}
    for loc, details in found:
        at = _first_tag(loc, value)
        if at is None:
            yield Fault(loc, details)
        else:
            branches.setdefault(loc[:at], {}).setdefault(str(loc[at]), []).append((loc[:at] + loc[at + 1 :], details))
    for path, tags in branches.items():
        meant = [e for e in tags.values() if not _is_another_shape(path, e)]
        if meant:
            # One branch has the value's shape: its errors are about what is inside.
            yield from _faults(meant[0], value)
            continue
        first = next(iter(tags.values()))[0][1]
        shapes = dict.fromkeys(EXPECTED[e[0][1]["type"]] for e in tags.values())
        yield Fault(path, first, tuple(shapes))


def _is_another_shape(path: Path, errors: list[tuple[Path, ErrorDetails]]) -> bool:
    loc, details = errors[0]
    return len(errors) == 1 and loc == path and details["type"] in EXPECTED


def _first_tag(loc: Path, value: JsonValue) -> int | None:
    """Where a path has the name of a branch instead of a key; None when it has none."""
    current = value
    for i, part in enumerate(loc):
        if isinstance(part, int):
            current = current[part] if isinstance(current, list) and part < len(current) else None
        elif isinstance(current, dict) and part in current:
            current = current[part]
        elif _TAG.fullmatch(part):
            return i
        else:
            return None
    return None
