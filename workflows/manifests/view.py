"""Reading of untyped documents: what is absent or of another shape reads as empty, and the engine will refuse it."""

from __future__ import annotations

from collections.abc import Mapping

from workflows.values import JsonObject, JsonValue


def obj(document: Mapping[str, JsonValue], *path: str) -> JsonObject:
    """The object at a path."""
    value: JsonValue = dict(document)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def objects(document: Mapping[str, JsonValue], *path: str) -> list[JsonObject]:
    """The objects in the list at a path."""
    items = obj(document, *path[:-1]).get(path[-1])
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def text(document: Mapping[str, JsonValue], key: str) -> str:
    """The string at a key."""
    value = document.get(key)
    return value if isinstance(value, str) else ""
