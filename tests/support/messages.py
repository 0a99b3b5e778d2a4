"""Messages in every encoding, and where they are kept."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from urllib.parse import quote

import ormsgpack
from hypothesis import strategies as st

from meta.triggers.decode import Place, decode
from meta.triggers.event import Event
from workflows.values import JsonObject, JsonValue

STORED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLACE = Place("DATA", "2026-01-01T00:00:00Z", 7, STORED, 2)
MAX = 1 << 20
ENVELOPE: JsonObject = {"specversion": "1.0", "id": "e-1", "source": "/lake", "type": "dataset.ready"}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def read(data: bytes, headers: dict[str, str] | None = None, *, max_bytes: int = MAX) -> Event:
    return decode("data.set.ready", data, headers, PLACE, max_bytes=max_bytes)


def ce_headers(attributes: JsonObject, content_type: str = "application/json") -> dict[str, str]:
    """A CloudEvent's attributes in binary mode."""
    found = {f"ce-{name}": quote(str(value), safe="/:+") for name, value in attributes.items()}
    return {**found, "ce-datacontenttype": content_type}


def encodings(value: JsonValue) -> dict[str, tuple[bytes, dict[str, str]]]:
    """A value as bytes and headers, by the name of the encoding."""
    plain = json.dumps(value).encode()
    packed = ormsgpack.packb(value)
    msgpack = "application/msgpack"
    found = {
        "JSON": (plain, {"Content-Type": "application/json"}),
        "JSON with parameters": (plain, {"content-type": "application/vnd.a.b+JSON; charset=utf-8"}),
        "MessagePack": (packed, {"Content-Type": msgpack}),
        "MessagePack, old name": (packed, {"CONTENT-TYPE": "application/x-msgpack"}),
        "MessagePack, registered name": (packed, {"Content-Type": "application/vnd.msgpack"}),
        "CloudEvent, binary, JSON": (plain, ce_headers(ENVELOPE)),
        "CloudEvent, binary, MessagePack": (packed, ce_headers(ENVELOPE, msgpack)),
        "CloudEvent, structured": structured({"data": value}),
        "CloudEvent, structured, base64": structured({"data_base64": base64.b64encode(plain).decode()}),
        "CloudEvent, structured, MessagePack": structured(
            {"data_base64": base64.b64encode(packed).decode(), "datacontenttype": msgpack}
        ),
        "CloudEvent, unsaid": (structured({"data": value})[0], dict[str, str]()),
        "JSON, unsaid": (plain, dict[str, str]()),
    }
    if isinstance(value, dict | list):
        found["MessagePack, unsaid"] = (packed, {})
    return found


def structured(more: JsonObject) -> tuple[bytes, dict[str, str]]:
    return json.dumps({**ENVELOPE, **more}).encode(), {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
