"""From a message's bytes and headers to an Event."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from nats.aio.msg import Msg

from meta.trace.context import trace_of
from meta.triggers import cloud_events
from meta.triggers.encodings import check, read_json, read_msgpack, read_text
from meta.triggers.event import Event, identity_of
from workflows.errors import EventMalformed
from workflows.values import JsonValue

_MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
_UNSAID = ("", "application/octet-stream")
_JSON = re.compile(r"(application|text)/([a-z0-9.+-]+\+)?json")
_NOT_UTF8 = "\ufffd"  # what the client makes of such bytes in headers
_MESSAGE_ID = "nats-msg-id"


@dataclass(frozen=True, slots=True)
class Place:
    """Where JetStream keeps a message.

    Attributes:
        stream: its name.
        created: creation time of the stream, the server's text: sequences begin again when it is made anew.
        sequence: in the stream, from 1.
        time: when it was stored, aware.
        deliveries: how often it has been delivered, this time included.
    """

    stream: str
    created: str
    sequence: int
    time: datetime
    deliveries: int = 1


def place_of(message: Msg, created: str) -> Place:
    """Where a message is kept.

    Args:
        message: as a consumer got it.
        created: creation time of its stream, from the server.

    Raises:
        nats.errors.NotJSMessageError: it comes from no stream.
    """
    known = message.metadata
    return Place(known.stream, created, known.sequence.stream, known.timestamp, known.num_delivered)


def decode(subject: str, data: bytes, headers: Mapping[str, str] | None, place: Place, *, max_bytes: int) -> Event:
    """Read a message.

    A content type decides on the encoding: JSON (also `text/json`, `...+json`), MessagePack, text. Without one, bytes
    that begin as a MessagePack map or list does (JSON never does) are MessagePack, others JSON. No data is null.
    CloudEvents come in binary mode (headers `ce-...`) or structured mode: `application/cloudevents+json`, or an object
    with the texts specversion, id, source and type, whatever the content type.

    Args:
        subject: it was published on.
        data: its bytes.
        headers: as published; names in any case.
        place: where it is kept.
        max_bytes: the most that is read.

    Raises:
        EventMalformed: it is too large, or cannot be read; it never will.
    """
    if len(data) > max_bytes:
        raise EventMalformed(
            f"the message has {len(data)} bytes, {max_bytes} at most are read",
            hint="send a reference to what is large, or raise nats.max_event",
        )
    plain = _base(subject, data, headers, place)
    lower = _lower(headers)
    content_type = lower.get("content-type", "")
    kind = _media_type(content_type)
    if kind.startswith("application/cloudevents"):
        if kind != "application/cloudevents+json":
            raise EventMalformed(
                f"CloudEvents as {kind[:80]!r} are not read", hint="send one CloudEvent a message, in JSON"
            )
        return _structured(plain, lower, read_json(data))
    if cloud_events.is_binary(lower):
        envelope = cloud_events.from_headers(lower)
        return replace(_with(plain, lower, envelope), data=_read(data, envelope.data_type))
    value = _read(data, content_type)
    if cloud_events.looks_structured(value):
        return _structured(plain, lower, value)
    return replace(plain, data=value)


def undecoded(subject: str, data: bytes, headers: Mapping[str, str] | None, place: Place) -> Event:
    """What is known of a message that `decode` refused; never fails.

    Its data is null. Its identity is the one of its headers, else of its place.
    """
    plain = _base(subject, data, headers, place)
    lower = _lower(headers)
    try:
        envelope = cloud_events.from_headers(lower)
    except EventMalformed:
        return plain
    return _with(plain, lower, envelope)


def _base(subject: str, data: bytes, headers: Mapping[str, str] | None, place: Place) -> Event:
    """What the headers and the place tell of a message."""
    lower = _lower(headers)
    own = lower.get(_MESSAGE_ID, "")
    if _NOT_UTF8 in own:  # two ids could look like one
        own = ""
    return Event(
        subject=_clean(subject),
        data=None,
        identity=_nats_identity(own, place),
        time=place.time,
        id=_clean(own),
        headers={_clean(name): _clean(value) for name, value in (headers or {}).items()},
        trace=trace_of(lower),
        raw=data,
        deliveries=place.deliveries,
        stored=place.time,
    )


def _nats_identity(own: str, place: Place) -> str:
    if not own:
        return identity_of("nats:seq", f"{place.stream}:{place.created}:{place.sequence}")
    if not own.isprintable():  # as the header's own characters may be none that a database stores
        own = "sha256:" + hashlib.sha256(own.encode(errors="surrogatepass")).hexdigest()
    return identity_of("nats:id", own)


def _structured(plain: Event, headers: Mapping[str, str], value: JsonValue) -> Event:
    envelope, data = cloud_events.from_object(value)
    if isinstance(data, bytes):
        data = _read(data, envelope.data_type, "the CloudEvent's data")
    return replace(_with(plain, headers, envelope), data=data)


def _with(plain: Event, headers: Mapping[str, str], envelope: cloud_events.Envelope) -> Event:
    attributes = {name: value for name, value in envelope.attributes.items() if isinstance(value, str)}
    return replace(
        plain,
        identity=identity_of("ce", envelope.identity),
        id=envelope.id,
        attributes=envelope.attributes,
        time=envelope.time or plain.time,
        trace=trace_of(headers, attributes),
    )


def _read(data: bytes, content_type: str, what: str = "the message") -> JsonValue:
    if not data:
        return None
    kind = _media_type(content_type)
    if kind in _MSGPACK_TYPES or (kind in _UNSAID and _begins_as_msgpack(data[0])):
        return read_msgpack(data, what)
    if kind in _UNSAID or _JSON.fullmatch(kind):
        return read_json(data, what)
    if kind.startswith("text/"):
        return check(read_text(data, what), what)
    raise EventMalformed(
        f"{what} is {kind[:80]!r}, which is not read", hint="send JSON or MessagePack, and say so in Content-Type"
    )


def _begins_as_msgpack(first: int) -> bool:
    """Whether a byte begins a map or list: fixmap, fixarray, array 16/32, map 16/32. JSON begins with none of them."""
    return 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers by name in lower case; the first of those that differ in case alone."""
    found = dict[str, str]()
    for name, value in (headers or {}).items():
        found.setdefault(name.lower(), value)
    return found


def _clean(text: str) -> str:
    """A text of the message as every store keeps it."""
    return text.replace("\0", _NOT_UTF8).encode(errors="replace").decode()
