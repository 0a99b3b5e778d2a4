"""CloudEvents on NATS, in binary and structured mode, after the NATS protocol binding 1.0.3 and the JSON format 1.0.2.

https://github.com/cloudevents/spec: cloudevents/bindings/nats-protocol-binding.md, cloudevents/formats/json-format.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from urllib.parse import unquote

from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.spec import SPECVERSION_V1_0
from cloudevents.core.v1.event import CloudEvent

from meta.triggers.encodings import text_fault
from workflows.errors import EventMalformed
from workflows.values import JsonObject, JsonValue

PREFIX = "ce-"
REQUIRED = ("specversion", "id", "source", "type")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # what the specification's type String leaves out
_HINT = "docs/events.md shows a CloudEvent"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A CloudEvent without its data.

    Attributes:
        attributes: all of them, as text, number or boolean.
        time: in UTC; None when it has none.
    """

    attributes: JsonObject
    time: datetime | None

    @property
    def id(self) -> str:
        return str(self.attributes["id"])

    @property
    def source(self) -> str:
        return str(self.attributes["source"])

    @property
    def data_type(self) -> str:
        """Content type of the data; empty when it does not say."""
        return str(self.attributes.get("datacontenttype", ""))

    @property
    def identity(self) -> str:
        return joined(self.source, self.id)


def joined(source: str, event_id: str) -> str:
    """Source and id as one text that no other pair gives: the id's `%` and `:` are escaped, so the last `:` divides."""
    return f"{source}:{event_id.replace('%', '%25').replace(':', '%3A')}"


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether one of the attributes that every CloudEvent has is a header.

    Args:
        headers: names in lower case.
    """
    return any(PREFIX + name in headers for name in REQUIRED)


def looks_structured(value: JsonValue) -> bool:
    """Whether a value, whose content type does not say what it is, is a CloudEvent."""
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in REQUIRED)


def from_headers(headers: Mapping[str, str]) -> Envelope:
    """Read a CloudEvent of binary mode.

    Args:
        headers: names in lower case. The data's type is `ce-datacontenttype`, else `content-type`, as other bindings
            have it.

    Raises:
        EventMalformed: by the specification it is none.
    """
    attributes: JsonObject = {
        name.removeprefix(PREFIX): decode_value(name, value)
        for name, value in headers.items()
        if name.startswith(PREFIX)
    }
    if content_type := headers.get("content-type"):
        attributes.setdefault("datacontenttype", content_type)
    return _envelope(attributes)


def from_object(value: JsonValue) -> tuple[Envelope, JsonValue | bytes]:
    """Read a CloudEvent of structured mode.

    Returns:
        The envelope, and its data: a value (`data`), or bytes (`data_base64`).

    Raises:
        EventMalformed: by the specification it is none.
    """
    if not isinstance(value, dict):
        raise EventMalformed("the CloudEvent is no object", hint=_HINT)
    attributes: JsonObject = {k: v for k, v in value.items() if v is not None}  # null is the same as absent
    data = attributes.pop("data", None)
    packed = attributes.pop("data_base64", None)
    if data is not None and packed is not None:
        raise EventMalformed("the CloudEvent has both data and data_base64", hint="send one of them")
    envelope = _envelope(attributes)
    return envelope, data if packed is None else _unpack(packed)


def decode_value(name: str, value: str) -> str:
    """A header's value as an attribute: quotes are taken off, then one round of percent-decoding (3.1.3.2).

    Raises:
        EventMalformed: what is percent-encoded is no UTF-8.
    """
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise EventMalformed(f"header {name}: what is percent-encoded is no UTF-8", hint=_HINT) from error


def _envelope(attributes: JsonObject) -> Envelope:
    for name in REQUIRED:  # the library fills them in, another value each time
        if name not in attributes:
            raise EventMalformed(
                f"the CloudEvent has no {name}", hint=f"a CloudEvent has {', '.join(REQUIRED[:-1])} and {REQUIRED[-1]}"
            )
    if attributes["specversion"] != SPECVERSION_V1_0:
        raise EventMalformed(
            f"the CloudEvent's specversion is {str(attributes['specversion'])[:40]!r}",
            hint=f"version {SPECVERSION_V1_0} of CloudEvents is read",
        )
    for name, value in attributes.items():
        _check_attribute(name, value)
    time = attributes.get("time")
    moment = None if time is None else _moment(time)
    try:
        CloudEvent(attributes | ({"time": moment} if moment else {}))
    except CloudEventValidationError as error:
        reasons = [str(e) for errors in error.errors.values() for e in errors]
        raise EventMalformed(f"the CloudEvent is none: {reasons[0]}", hint=_HINT) from error
    except BaseCloudEventException as error:
        raise EventMalformed(f"the CloudEvent is none: {error}", hint=_HINT) from error
    return Envelope(attributes, moment)


def _check_attribute(name: str, value: JsonValue) -> None:
    if not isinstance(value, str | int):
        raise EventMalformed(
            f"the CloudEvent's {name[:40]!r} is neither a text nor an integer nor a boolean",
            hint="what is larger belongs into data",
        )
    if isinstance(value, str) and (_CONTROL.search(value) or text_fault(value)):
        raise EventMalformed(f"the CloudEvent's {name[:40]!r} has control characters", hint=_HINT)


def _moment(value: JsonValue) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value).upper())
        if moment.tzinfo is None:
            raise ValueError("it has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise EventMalformed(
            f"the CloudEvent's time is {str(value)[:40]!r}: {error}", hint="send it as 2026-01-02T03:04:05Z"
        ) from error


def _unpack(packed: JsonValue) -> bytes:
    try:
        return base64.b64decode(cast(str, packed), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise EventMalformed(f"the CloudEvent's data_base64 is no base64: {error}", hint=_HINT) from error
