"""The `fields` of Argo's API: which parts of an object are answered."""

from __future__ import annotations

from typing import cast

from workers.engines.json_view import children
from workflows.values import JsonObject


def project(value: JsonObject, fields: str) -> JsonObject:
    """Keep the fields of a comma-separated list of paths; a path goes through lists."""
    if not fields:
        return value
    kept: JsonObject = {}
    for path in fields.split(","):
        _keep(value, kept, path.split("."))
    return kept


def _keep(source: JsonObject, target: JsonObject, path: list[str]) -> None:
    head, *rest = path
    if head not in source:
        return
    found = source[head]
    if not rest:
        target[head] = found
    elif isinstance(found, dict):
        _keep(found, cast("JsonObject", target.setdefault(head, {})), rest)
    elif isinstance(found, list):
        items = cast("list[JsonObject]", target.setdefault(head, [{} for _ in found]))
        for item, kept in zip(children(source, head), items, strict=True):
            _keep(item, kept, rest)
