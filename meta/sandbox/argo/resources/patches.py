"""The three ways to change an object: JSON patch (RFC 6902), merge patch (RFC 7386), and kubectl's apply."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.state.status import JsonObject


class PatchError(Exception):
    """The patch does not fit the object."""


def merge_patch(body: JsonValue, patch: JsonValue) -> JsonValue:
    """Put the patch's values over the object's; null takes one out."""
    if not isinstance(patch, dict):
        return patch
    result: JsonObject = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def three_way(original: JsonObject, wanted: JsonObject, live: JsonObject) -> JsonObject:
    """What apply makes: the wanted values over the live ones, without those that were applied before and no longer."""
    result = {key: value for key, value in live.items() if key not in original or key in wanted}
    for key, value in wanted.items():
        if isinstance(value, dict):
            before, now = original.get(key), live.get(key)
            result[key] = three_way(
                before if isinstance(before, dict) else {}, value, now if isinstance(now, dict) else {}
            )
        else:
            result[key] = value
    return result


def json_patch(body: JsonObject, patch: JsonValue) -> JsonObject:
    """Do the operations one after another on a copy.

    Raises:
        PatchError: one cannot be done.
    """
    holder: JsonObject = {"": deepcopy(body)}
    if not isinstance(patch, list):
        raise PatchError("a JSON patch is a list of operations")
    for step in patch:
        if not isinstance(step, dict) or not isinstance(step.get("path"), str):
            raise PatchError(f"not an operation of a JSON patch: {step}")
        _operate(holder, step)
    result = holder.get("")
    if not isinstance(result, dict):
        raise PatchError("the patch leaves no object")
    return result


def _operate(holder: JsonObject, step: JsonObject) -> None:
    path, operation = cast("str", step["path"]), step.get("op")
    if operation in {"move", "copy"}:
        source = str(step.get("from"))
        value = deepcopy(_get(holder, source))
        if operation == "move":
            _set(holder, source)
        _set(holder, path, value, insert=True)
    elif operation == "test":
        if _get(holder, path) != step.get("value"):
            raise PatchError(f"testing value {path} failed")
    elif operation == "remove":
        _get(holder, path)
        _set(holder, path)
    elif operation in {"add", "replace"} and "value" in step:
        if operation == "replace":
            _get(holder, path)
        _set(holder, path, step["value"], insert=operation == "add")
    else:
        raise PatchError(f"unexpected kind of operation: {operation}")


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise PatchError(f"'{path}' is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]  # the first is the holder's ""


def _child(value: JsonValue, step: str, path: str) -> JsonValue:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    raise PatchError(f"doc is missing path: {path}")


def _get(holder: JsonObject, path: str) -> JsonValue:
    found: JsonValue = holder
    for step in _steps(path):
        found = _child(found, step, path)
    return found


_GONE = object()


def _set(holder: JsonObject, path: str, value: object = _GONE, *, insert: bool = False) -> None:
    """Set, insert or (without a value) take out what a pointer names."""
    *above, last = _steps(path)
    place: JsonValue = holder
    for step in above:
        place = _child(place, step, path)
    if isinstance(place, dict):
        if value is _GONE:
            del place[last]
        else:
            place[last] = cast("JsonValue", value)
        return
    if not isinstance(place, list) or not (last == "-" or last.isdigit()):
        raise PatchError(f"doc is missing path: {path}")
    index = len(place) if last == "-" else int(last)
    if index > len(place) or (index == len(place) and not insert):
        raise PatchError(f"doc is missing path: {path}")
    items = [] if value is _GONE else [cast("JsonValue", value)]
    place[index : index if insert else index + 1] = items
