"""An event of a sensor, and where the same stands in a message here.

A NATS event source makes an event of each message: `{subject, header, body, metadata}` in its data, and a context of
its own making: id a new UUID, type `nats`, source the event source's name, subject the event's name. Source:
argo-events, `pkg/eventsources/events/event-data.go` (NATSEventData), `pkg/eventsources/eventing.go`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from meta.importing.documents import At
from meta.importing.paths import NotCarried, Read, cel_string, read, split_path

_JQ_PATH = re.compile(r"\s*((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*")
_CONTEXT = frozenset({"id", "source", "specversion", "type", "datacontenttype", "subject", "time"})


@dataclass(frozen=True)
class EventSource:
    """An entry of an EventSource: where its messages come from.

    Attributes:
        known: False: no EventSource was given, and JSON bodies are taken for granted.
        json_body: False: the sensor sees the body as base64.
    """

    subject: str
    at: At | None = None
    known: bool = True
    json_body: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Dependency:
    """A sensor's dependency.

    Attributes:
        prefix: keys that a transform of the form `.a.b` goes down before anything is read.
        opaque: the dependency has a transform that cannot be followed: nothing of its data can be read.
    """

    name: str
    at: At
    source_name: str
    event_name: str
    source: EventSource
    prefix: tuple[str, ...] = ()
    opaque: bool = False

    def context(self, key: str) -> Read:
        """What an event's context has at a key.

        Raises:
            NotCarried: the event source makes it up.
        """
        constants = {
            "type": "nats",
            "source": self.source_name,
            "subject": self.event_name,
            "datacontenttype": "application/json",
            "specversion": "1.0",
        }
        if key in constants:
            return Read(cel_string(constants[key]))
        if key == "time":
            return Read("event.time")
        if key == "id":
            raise NotCarried("the event's id is made up by the event source for each message that it receives")
        raise NotCarried(f"an event's context has no '{key}', only {', '.join(sorted(_CONTEXT))}")

    def data(self, path: str) -> Read:
        """What an event's data has at a path.

        Raises:
            NotCarried: it cannot be read here, or is never there.
        """
        if self.opaque:
            raise NotCarried(f"'{path}' is read from what the transform of '{self.name}' makes")
        first, *rest = [*self.prefix, *split_path(path)]
        if first == "body":
            return read("event.data", rest)
        if first == "subject" and not rest:
            return Read("event.subject")
        if first == "header" and rest:
            return self._header(rest)
        if first == "metadata" and self.source.known:
            if len(rest) == 1 and rest[0] in self.source.metadata:
                return Read(cel_string(self.source.metadata[rest[0]]))
            raise NotCarried(f"the event source has no metadata '{'.'.join(rest)}'")
        if first == "metadata":
            raise NotCarried("what the metadata is stands in the EventSource, which was not given")
        raise NotCarried(
            f"an event of NATS has 'body', 'subject', 'header' and 'metadata', and nothing at '{path}', so the sensor"
            " never finds it"
        )

    def _header(self, rest: list[str]) -> Read:
        name, *position = rest
        if position not in ([], ["0"]):
            raise NotCarried(f"only the first value of header '{name}' can be read here")
        if not position:
            raise NotCarried(f"'header.{name}' is the list of all values; only the first, header.{name}.0, can be read")
        return read("event.headers", [name])


def jq_prefix(program: str) -> tuple[str, ...] | None:
    """The keys of a jq program that only goes down, as `.body.detail`; None when it does more."""
    match = _JQ_PATH.fullmatch(program)
    return tuple(match[1].split(".")[1:]) if match else None
