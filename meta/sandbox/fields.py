"""Tables of the fields that an engine's documents may have here, and the walk over a document by its table.

A table stands for an object, or a list of objects: each key is a field, and its entry another table or a `Mark`. A
field that stands in no table is unknown, and refused by name like one that is marked so: nothing is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeAlias, cast

from pydantic import JsonValue


class Mark(Enum):
    """What the sandboxes make of a field; the values are those of `meta.sandbox.support.Level`.

    NO_EFFECT fields mean nothing on one machine, as what steers a cluster's scheduler: accepted, so that a manifest for
    a cluster runs unchanged, and named where the user looks.
    """

    USED = "supported"
    NO_EFFECT = "approximated"
    REFUSED = "refused"


USED, NO_EFFECT, REFUSED = Mark.USED, Mark.NO_EFFECT, Mark.REFUSED
ANY_KEY = "*"
"""The key of a table that stands for every other key, as of an object whose keys are names."""
Table: TypeAlias = "Mapping[str, Mark | Table]"


def examine(document: JsonValue, table: Mark | Table, place: str = "") -> Iterator[tuple[str, Mark]]:
    """Find what is refused in a document, and what has no effect.

    Args:
        document: what a client sent.
        table: what it may have.
        place: where it stands in the request.

    Yields:
        The place of a field, and REFUSED or NO_EFFECT.
    """
    if table is USED or _unset(document):
        return
    if isinstance(table, Mark):
        yield place, table
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from examine(item, table, f"{place}{_index(index, item)}")
    elif isinstance(document, dict):
        for key, item in document.items():
            inner = f"{place}.{key}" if place else key
            below = table.get(key, table.get(ANY_KEY, REFUSED))
            if below is not REFUSED:
                yield from examine(item, below, inner)
            elif item == {} or not _unset(item):  # an empty object can be a choice, as in `suspend: {}`
                yield inner, REFUSED


def rows(table: Table, area: str) -> Iterator[tuple[str, str, Mark]]:
    """List a table, and each that it holds once: the area (names apart by dots), the field, its mark."""
    seen: set[int] = set()
    waiting: list[tuple[str, Table]] = [(area, table)]
    while waiting:
        place, one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        for name, entry in one.items():
            if not isinstance(entry, Mark):
                waiting.append((place if name == ANY_KEY else f"{place}.{name}", entry))
            yield place, name, entry if isinstance(entry, Mark) else USED


def _index(index: int, item: JsonValue) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return f"[{name}]" if isinstance(name, str) else f"[{index}]"


def _unset(value: JsonValue) -> bool:
    """Go's zero values: clients that marshal whole objects send them for fields that nobody set."""
    return value in cast("tuple[JsonValue, ...]", (None, False, "", 0, [], {}))
