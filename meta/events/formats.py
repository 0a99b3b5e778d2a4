"""What the events of a run look like where a reply was asked for: one function a format."""

from __future__ import annotations

from collections.abc import Callable

from meta.store.envelope import payload
from workflows.values import JsonObject

Format = Callable[[JsonObject, JsonObject], bytes | None]
"""From a CloudEvent (`meta.store.envelope`) and the context of the reply to bytes; None: this event is not told."""


def cloudevents(event: JsonObject, _context: JsonObject) -> bytes:
    """The event as it is published."""
    return payload(event)


FORMATS: dict[str, Format] = {"cloudevents": cloudevents}
"""Formats by the name that a reply's row has."""
