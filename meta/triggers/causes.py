"""What a message was as the cause of a run: for the root span of the run's trace.

Names and attributes are OpenTelemetry's for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from meta.triggers.asking import Ask
from meta.triggers.event import Event
from workflows.messages import Cause

_MAX_TEXT = 256
"""Characters of a publisher's texts; they go into histories and to a backend."""


def cause_of(ask: Ask, events: Sequence[Event], source: str, replayed_at: datetime | None = None) -> Cause:
    """The cause of the run that messages ask for.

    Its name is bounded: it has the subject that the trigger listens on, with its wildcards, not each message's own.
    Of several messages the last counts, which completed them; the trace goes on from it, too.

    Args:
        ask: what they ask for.
        events: one, or all of a batch or burst, in order.
        source: where they came from: nats, bridge.
        replayed_at: when somebody asked to try them again; that, not the message of old, made the run start.
    """
    last = events[-1]
    attributes = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": last.subject[:_MAX_TEXT],
    }
    if ask.subject and ask.subject != last.subject:
        attributes["messaging.destination.template"] = ask.subject
    if len(events) > 1:
        attributes["messaging.batch.message_count"] = str(len(events))
    elif last.id:
        attributes["messaging.message.id"] = last.id[:_MAX_TEXT]
    stored = last.stored or last.time
    if replayed_at is not None:
        attributes |= {"meta.replayed": "true", "meta.message.stored_at": stored.isoformat()}
    name = f"process {(ask.subject or last.subject)[:_MAX_TEXT]}"
    return Cause(kind=source, name=name, at=replayed_at or stored, attributes=attributes)
