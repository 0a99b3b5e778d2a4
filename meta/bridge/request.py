"""A request of a bridge's client, read from its bytes: JSON or MessagePack, plain or in an envelope. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, cast

import ormsgpack

from meta.triggers.encodings import check, read_json
from workflows.errors import EventMalformed
from workflows.inputs import show
from workflows.values import JsonObject, JsonValue, canonical_json, digest_of

Encoding = Literal["json", "msgpack"]

MAX_REQUEST_ID = 128
"""Longest request id, in characters."""

_MARK = 0xEF  # first byte of the byte order mark
_OPTIONS = ormsgpack.OPT_NON_STR_KEYS | ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants.

    Attributes:
        encoding: of the request; answers and statuses come back in it.
        request_id: the client's own; empty when it gave none.
        pipeline: a name of the catalogue.
        parameters: as given.
        fault: why it is no request; empty when it is one. What could be read of it is there all the same.
    """

    encoding: Encoding
    request_id: str = ""
    pipeline: str = ""
    parameters: JsonObject = field(default_factory=dict[str, JsonValue])
    fault: str = ""

    @property
    def content(self) -> JsonObject:
        """What it says, the same in every encoding and envelope."""
        return {"request_id": self.request_id, "pipeline": self.pipeline, "parameters": self.parameters}

    @property
    def digest(self) -> str:
        """Of the content: a repeat of a request has the same."""
        return digest_of(canonical_json(self.content))


def read(data: bytes, max_bytes: int) -> Request:
    """Read a request.

    An envelope is an object with `payload` and without `pipeline`. Its payload is the request: an object, or one that
    was encoded by itself, as text or bytes. A request without an id has the envelope's.

    Args:
        data: the message.
        max_bytes: a larger one is not read.
    """
    encoding = encoding_of(data)
    if len(data) > max_bytes:
        return Request(encoding, fault=f"the message has {len(data):,} bytes, {max_bytes:,} at most")
    try:
        body = _decode(data, encoding)
        outer = _object(body, "the message")
        request = outer
        if "payload" in outer and "pipeline" not in outer:
            request = _object(_nested(outer["payload"]), "payload")
    except _Fault as fault:
        return Request(encoding, fault=str(fault))
    return _fields(request, outer.get("request_id"), encoding)


def encoding_of(data: bytes) -> Encoding:
    """How a message is encoded: JSON begins in ASCII or with a byte order mark, an object of MessagePack never does.

    Source: https://github.com/msgpack/msgpack/blob/master/spec.md#formats
    """
    return "msgpack" if data and data[0] >= 0x80 and data[0] != _MARK else "json"


def encode(value: JsonObject, encoding: Encoding) -> bytes:
    """Encode an answer or a status."""
    if encoding == "msgpack":
        return ormsgpack.packb(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


class _Fault(Exception):
    """Why a message is no request."""


def _fields(request: JsonObject, outer_id: JsonValue, encoding: Encoding) -> Request:
    given = request.get("request_id")
    given = outer_id if given in (None, "") else given
    request_id = str(given) if isinstance(given, (str, int)) and not isinstance(given, bool) else ""
    pipeline = request.get("pipeline")
    faults: list[str] = []
    if given in (None, ""):
        faults.append("there is no request_id")
    elif not request_id:
        faults.append(f"request_id is {show(given)}, not a text")
    elif len(request_id) > MAX_REQUEST_ID:
        faults.append(f"request_id has {len(request_id)} characters, {MAX_REQUEST_ID} at most")
        request_id = ""
    if not isinstance(pipeline, str) or not pipeline:
        faults.append("there is no pipeline" if pipeline in (None, "") else f"pipeline is {show(pipeline)}, not a name")
    parameters: JsonObject = {}
    try:
        if (named := request.get("parameters")) not in (None, ""):
            parameters = _object(_nested(named), "parameters")
    except _Fault as fault:
        faults.append(str(fault))
    return Request(
        encoding, request_id, pipeline if isinstance(pipeline, str) else "", parameters, fault="; ".join(faults)
    )


def _object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _Fault(f"{what} is {show(value)}, not an object")
    return value


def _nested(value: JsonValue) -> JsonValue:
    """What stands inside another message, as it is or encoded by itself."""
    if not isinstance(value, str):
        return value
    return _decode(value.encode(errors="surrogatepass"), "json")


def _decode(data: bytes, encoding: Encoding) -> JsonValue:
    try:
        if encoding == "json":
            return read_json(data)
        return check(_unpack(data))
    except EventMalformed as error:
        raise _Fault(error.message) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _Fault(f"the message is no MessagePack: {error}") from None


def _unpack(data: bytes) -> JsonValue:
    return _plain(ormsgpack.unpackb(data, ext_hook=lambda _tag, body: body.hex(), option=_OPTIONS))


def _plain(value: object) -> JsonValue:
    """MessagePack's values as JSON has them: bytes are text or a message of its own, keys are text."""
    match value:
        case bytes():
            return _unpack(value) if value and (value[0] >> 4 == 8 or value[0] in (0xDE, 0xDF)) else value.decode()
        case dict():
            return {str(key): _plain(item) for key, item in cast("dict[object, object]", value).items()}
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return [_plain(item) for item in cast("list[object]", value)]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise ValueError(f"it holds a {type(value).__name__}")
