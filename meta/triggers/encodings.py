"""Bytes to JSON values: JSON and MessagePack, and nothing that JSON, a database or an expression cannot carry."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, cast

import ormsgpack

from workflows.errors import EventMalformed
from workflows.values import JsonValue

MAX_DEPTH = 100
"""Deepest nesting of lists and objects; parsers further down the way stop at 200."""
_NAME_IT = "send JSON in UTF-8 or MessagePack, and name the encoding in the header Content-Type"
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
_TIMESTAMP = -1  # https://github.com/msgpack/msgpack/blob/master/spec.md#timestamp-extension-type
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAIR, _END = b"\x92", b"\xc4\x10" + os.urandom(16)  # a list of two; 16 bytes of type bin that no publisher knows

_Step = tuple["_Step | None", str | int]  # the way to a place, from its end


def read_json(data: bytes, what: str = "the message") -> JsonValue:
    """Read JSON (RFC 8259), with or without a byte order mark.

    A key that an object has twice is refused, because readers differ in which one counts; so are `NaN` and `Infinity`.

    Args:
        data: UTF-8.
        what: for the error.

    Raises:
        EventMalformed: no JSON, or with something that is not carried; see `check`.
    """
    text = read_text(data, what)
    try:
        value: Any = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise _too_deep(what) from error
    except _Refused as error:
        raise EventMalformed(f"{what}: {error}", hint=error.hint) from error
    except ValueError as error:
        raise EventMalformed(f"{what} is no JSON: {error}", hint=_NAME_IT) from error
    return check(value, what)


def read_msgpack(data: bytes, what: str = "the message") -> JsonValue:
    """Read one MessagePack value.

    Timestamps become ISO 8601 texts in UTC, with their nanoseconds. Of a key that a map has twice the last counts.

    Args:
        data: of the whole value, and no more.
        what: for the error.

    Raises:
        EventMalformed: no MessagePack, or with something that is not carried: bytes, other extension types, keys that
            are no texts; see `check`.
    """
    refused: list[_Refused] = []

    def extension(tag: int, content: bytes) -> str:
        try:
            return _timestamp(tag, content)
        except _Refused as error:
            refused.append(error)
            raise

    try:
        # the decoder ignores what comes after a value: in a list with an end of ours it cannot hide
        pair = ormsgpack.unpackb(_PAIR + data + _END, ext_hook=extension, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, TypeError, RecursionError) as error:
        if refused:
            raise EventMalformed(f"{what}: {refused[0]}", hint=refused[0].hint) from error
        if "Recursion" in str(error):
            raise _too_deep(what) from error
        raise EventMalformed(f"{what} is no MessagePack: {error}", hint=_NAME_IT) from error
    value, end = cast("list[Any]", pair)
    if end != _END[2:]:
        raise EventMalformed(f"{what} is not one whole MessagePack value", hint="send one value, whole, and no more")
    return check(value, what)


def read_text(data: bytes, what: str = "the message") -> str:
    """Read UTF-8; a byte order mark is dropped.

    Raises:
        EventMalformed: other bytes.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EventMalformed(
            f"{what} is no UTF-8: byte {error.start} is 0x{data[error.start]:02x}", hint="texts are UTF-8 here"
        ) from error


def check(value: Any, what: str = "the message") -> JsonValue:
    """Let a value through that every part of the way can carry.

    Refused are: bytes; numbers that are not finite; integers beyond 64 bits; keys that are no texts; texts with half a
    character (a lone surrogate) or with U+0000, which databases do not store and expressions cut at; nesting beyond
    `MAX_DEPTH`.

    Raises:
        EventMalformed: with the place.
    """
    if not _fine(value):
        _blame(value, what)
    return cast(JsonValue, value)


def _fine(value: Any) -> bool:
    """Whether a value passes; level by level, because the depth is the publisher's choice, and texts together."""
    level: list[Any] = [value]
    texts: list[str] = []
    depth = -1
    while level:
        depth += 1
        below: list[Any] = []
        deeper = False
        for item in level:
            kind = cast("type[object]", type(item))
            if kind is str:
                texts.append(item)
            elif kind is dict:
                texts.extend(item)
                below.extend(item.values())
                deeper = True
            elif kind is list:
                below.extend(item)
                deeper = True
            elif kind is int:
                if not _LEAST <= item <= _MOST:
                    return False
            elif kind is float:
                if not math.isfinite(item):
                    return False
            elif item is not None and kind is not bool:
                return False
        if deeper and depth >= MAX_DEPTH:
            return False
        level = below
    try:
        return not text_fault("".join(texts))
    except TypeError:  # a key that is no text
        return False


def _blame(value: Any, what: str) -> None:
    """Find the first thing that does not pass, and say where it is."""
    pending: list[tuple[Any, _Step | None, int]] = [(value, None, 0)]
    while pending:
        item, way, depth = pending.pop()
        try:
            if isinstance(item, dict | list):
                if depth >= MAX_DEPTH:
                    raise _too_deep(what)
                pending.extend((child, (way, key), depth + 1) for key, child in _children(cast(Any, item)))
            else:
                _check_leaf(item)
        except _Refused as error:
            raise EventMalformed(f"{what}: {_show(way)}{error}", hint=error.hint) from error
    raise EventMalformed(f"{what} has something that JSON does not", hint=_NAME_IT)


def text_fault(text: str) -> str:
    """What is wrong with a text; empty when nothing is."""
    if "\0" in text:
        return "a text with the character U+0000"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "broken text: half of a character (a lone surrogate)"
    return ""


class _Refused(ValueError):
    """What JSON or those after it do not have."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _children(item: dict[Any, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    if isinstance(item, list):
        yield from enumerate(item)
        return
    for key, child in item.items():
        if not isinstance(key, str):
            raise _Refused(f"a key is {_kind(key)}, not a text", "keys of objects are texts")
        if fault := text_fault(key):
            raise _Refused(f"a key is {fault}", "send whole characters")
        yield key, child


def _check_leaf(item: Any) -> None:
    if item is None or isinstance(item, bool):
        return
    if isinstance(item, str):
        if fault := text_fault(item):
            raise _Refused(fault, "send whole characters")
    elif isinstance(item, int):
        if not _LEAST <= item <= _MOST:
            raise _Refused("an integer beyond 64 bits", "send it as a text")
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise _Refused("a number that is not finite", "send null, or a text")
    else:
        raise _Refused(_kind(item), "send bytes as base64 text")


def _kind(value: object) -> str:
    names: dict[type[object], str] = {
        bytes: "bytes",
        int: "an integer",
        float: "a number",
        bool: "a boolean",
        tuple: "a list",
    }
    return "null" if value is None else names.get(type(value), f"of type {type(value).__name__}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _Refused(f"the key {json.dumps(twice)} stands twice in one object", "send each key once")
    return made


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no JSON", "send null, or a text")


def _timestamp(tag: int, content: bytes) -> str:
    """A MessagePack timestamp as text: 32 bits of seconds; 30 of nanoseconds and 34 of seconds; or 32 and 64."""
    hint = "of MessagePack's extension types timestamps (-1) are read"
    if tag != _TIMESTAMP:
        raise _Refused(f"MessagePack's extension type {tag}", hint)
    match len(content):
        case 4:
            nanoseconds, seconds = 0, int.from_bytes(content)
        case 8:
            nanoseconds, seconds = divmod(int.from_bytes(content), 1 << 34)
        case 12:
            nanoseconds, seconds = int.from_bytes(content[:4]), int.from_bytes(content[4:], signed=True)
        case size:
            raise _Refused(f"a MessagePack timestamp of {size} bytes", hint)
    if nanoseconds > 999_999_999:
        raise _Refused("a MessagePack timestamp with more than a second of nanoseconds", hint)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise _Refused("a MessagePack timestamp outside the years 1 to 9999", "send it as a text") from error
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


def _too_deep(what: str) -> EventMalformed:
    return EventMalformed(f"{what} is nested more than {MAX_DEPTH} deep", hint="send it flatter")


def _show(way: _Step | None) -> str:
    """The place as `items[3].name: `, shortened where it is long; empty for the whole."""
    parts = list[str]()
    while way is not None:
        way, key = way
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key[:40]}")
    text = "".join(reversed(parts)).removeprefix(".")
    if len(text) > 120:
        text = f"{text[:60]} ... {text[-50:]}"
    return f"{text}: " if text else ""
