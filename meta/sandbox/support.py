"""What the sandbox engines can do, found in their own tables and routes and in the official clients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from starlette.applications import Starlette
from starlette.routing import Route


class Level(StrEnum):
    """How far a thing can be trusted to be as on a real server."""

    SUPPORTED = "supported"
    APPROXIMATED = "approximated"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One thing that the real server knows.

    Attributes:
        area: what it belongs to: `API`, or a message of the manifest.
        name: a field or a call.
        note: what differs, where it is approximated.
    """

    area: str
    name: str
    level: Level
    note: str = ""


NO_EFFECT_NOTE = "accepted, has no effect on one machine"
REFUSED_ROUTE = "refused"
"""Name of the routes that only say that there is no such thing here."""


def calls(app: Starlette, official: Iterable[tuple[str, str]]) -> list[Entry]:
    """Compare an application's routes with the calls of the engine's official client.

    Args:
        app: the sandbox's application.
        official: method and path of each call.
    """
    routes = {
        (method, _shape(route.path))
        for route in app.routes
        if isinstance(route, Route) and route.name != REFUSED_ROUTE
        for method in route.methods or ()
    }
    return [
        Entry("API", f"{method} {path}", Level.SUPPORTED if (method, _shape(path)) in routes else Level.REFUSED)
        for method, path in sorted(set(official), key=lambda call: (call[1], call[0]))
    ]


def _shape(path: str) -> str:
    """A path without its parameters' names, which differ."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def by_area(entries: Iterable[Entry]) -> Mapping[str, Mapping[Level, list[Entry]]]:
    """Group entries for reading, in the order in which areas come first."""
    found: dict[str, dict[Level, list[Entry]]] = {}
    for entry in entries:
        found.setdefault(entry.area, {level: [] for level in Level})[entry.level].append(entry)
    return found
