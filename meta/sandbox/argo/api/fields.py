"""The `fields` parameter: which parts of an answer are sent (util/fields/fields.go)."""

from __future__ import annotations

from pydantic import JsonValue


class FieldFilter:
    """`a.b,c` keeps those paths, `-a.b` drops them; nothing keeps all."""

    def __init__(self, text: str) -> None:
        """Read the parameter."""
        self._exclude = text.startswith("-")
        self._paths = {path for path in text.removeprefix("-").split(",") if path}

    def apply(self, value: JsonValue) -> JsonValue:
        return self._clean(value, "") if self._paths else value

    def _clean(self, value: JsonValue, place: str) -> JsonValue:
        if isinstance(value, list):  # an index is no part of a path
            return [self._clean(item, place) for item in value]
        if not isinstance(value, dict):
            return value
        result: dict[str, JsonValue] = {}
        for key, item in value.items():
            path = f"{place}.{key}" if place else key
            named = path in self._paths
            if self._exclude:
                if not named:
                    result[key] = self._clean(item, path)
            elif named:
                result[key] = item
            elif any(wanted.startswith(path) for wanted in self._paths):
                result[key] = self._clean(item, path)
        return result
