"""Places in an object by sjson's paths: where a sensor puts what it takes from events."""

from __future__ import annotations

from typing import cast

from meta.importing.paths import NotCarried, split_path
from workflows.values import JsonObject, JsonValue

Keys = tuple[str | int, ...]


def keys_of(dest: str, within: JsonValue) -> Keys:
    """The keys of a path in an object; digits are positions where a list stands.

    Raises:
        NotCarried: the path has more than keys, or goes through what is not there.
    """
    keys = list[str | int]()
    value = within
    for part in split_path(dest):
        if isinstance(value, list):
            if not part.isdigit() or int(part) >= len(value):
                raise NotCarried(f"'{dest}' leads to no entry of a list that is there")
            keys.append(int(part))
            value = value[int(part)]
        elif isinstance(value, dict):
            keys.append(part)
            value = value.get(part)
        elif value is None:
            keys.append(part)
        else:
            raise NotCarried(f"'{dest}' leads through what has no keys")
    return tuple(keys)


def get(within: JsonValue, keys: Keys) -> JsonValue:
    value = within
    for key in keys:
        if isinstance(value, dict):
            value = value.get(str(key))
        elif isinstance(value, list) and isinstance(key, int):
            value = value[key]
        else:
            return None
    return value


def put(within: JsonObject, keys: Keys, new: JsonValue) -> None:
    """Set a value; objects on the way are made."""
    value = cast(JsonValue, within)
    for key in keys[:-1]:
        if isinstance(value, list) and isinstance(key, int):
            value = value[key]
        elif isinstance(value, dict):
            value = value.setdefault(str(key), {})
    last = keys[-1]
    if isinstance(value, list) and isinstance(last, int):
        value[last] = new
    elif isinstance(value, dict):
        value[str(last)] = new
