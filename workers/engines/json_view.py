"""Reading an engine's JSON without trusting its shape: what is missing or of another type reads as empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from workflows.values import JsonObject, JsonValue


def child(value: JsonValue | Mapping[str, JsonValue], *path: str) -> JsonObject:
    """The object at a path of keys; empty when there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def children(value: JsonValue | Mapping[str, JsonValue], *path: str) -> list[JsonObject]:
    """The objects of the list at a path of keys."""
    *above, last = path
    found = child(value, *above).get(last)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(value: JsonValue | Mapping[str, JsonValue], *path: str) -> str:
    """The string at a path of keys; empty when there is none."""
    *above, last = path
    found = child(value, *above).get(last)
    return found if isinstance(found, str) else ""


def texts(value: JsonValue | Mapping[str, JsonValue], *path: str) -> list[str]:
    """The strings of the list at a path of keys."""
    *above, last = path
    found = child(value, *above).get(last)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def moment(value: JsonValue) -> datetime | None:
    """An RFC 3339 time in UTC; None for null, the Unix epoch (KFP's word for "not yet") and what is no time."""
    if not isinstance(value, str) or not value:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC) if at.timestamp() > 0 else None
