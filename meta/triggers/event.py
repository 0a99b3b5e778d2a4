"""A message as triggers see it, however it was encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from workflows.values import JsonObject, JsonValue, canonical_json, digest_of

MAX_IDENTITY = 400
"""Longest identity that is kept as it is, in characters; a longer one by its digest."""

_OTHER = "#other:"


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded message.

    Attributes:
        subject: it was published on.
        data: what it tells.
        identity: the same on every delivery and, where the publisher gives one, on every publish: `ce:<source>:<id>`,
            `nats:id:<Nats-Msg-Id>`, else `nats:seq:<stream>:<stream's creation time>:<sequence>`, because sequences
            begin again when a stream is made anew; `key:<value>` where a trigger's `id` says so.
        id: the publisher's own, for expressions; empty when it gave none.
        headers: as published, the first value of each.
        attributes: of a CloudEvent, by name; empty for other messages.
        time: of the event, where it says so, else when the server stored it.
        stored: when the server stored it, where that is known.
        trace: W3C trace context and baggage: `traceparent`, `tracestate`, `baggage`; what is malformed is left out.
        raw: the message's bytes.
        deliveries: how often the server has delivered it, this time included.
    """

    subject: str
    data: JsonValue
    identity: str
    time: datetime
    id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes: JsonObject = field(default_factory=dict[str, JsonValue])
    trace: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: bytes = b""
    deliveries: int = 1
    stored: datetime | None = None

    def view(self) -> JsonObject:
        """What expressions read as `event`: the fields of the data, and over them what is known of the message."""
        fields: JsonObject = dict(self.data) if isinstance(self.data, dict) else {}
        known: JsonObject = {
            **self.attributes,
            "data": self.data,
            "headers": dict(self.headers),
            "subject": self.subject,
            "tokens": list[JsonValue](self.subject.split(".")),
            "time": self.time.isoformat(),
        }
        if self.id:
            known["id"] = self.id
        return {**fields, **known}

    @property
    def digest(self) -> str:
        """Of the data: the same identity must tell the same."""
        return digest_of(canonical_json(self.data))


def identity_of(kind: str, value: str) -> str:
    """An identity of a kind (`ce`, `nats:id`, `nats:seq`, `key`), of bounded length."""
    if len(value) <= MAX_IDENTITY:
        return f"{kind}:{value}"
    return f"{kind}:sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"


def other_identity(identity: str, digest: str) -> str:
    """What a message is kept under that has the identity of another one and tells something else."""
    return f"{identity}{_OTHER}{digest.removeprefix('sha256:')[:12]}"


def own_identity(kept: str) -> str:
    """The identity that a message came with, from what it is kept under."""
    return kept.partition(_OTHER)[0]
