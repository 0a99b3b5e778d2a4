"""Messages out of the store: what they were when they came, and what became of them."""

from __future__ import annotations

from dataclasses import replace

from meta.api.errors import by_code
from meta.api.starter import Started
from meta.store.event_tables import TriggerEventRow
from meta.triggers.decode import Place, decode
from meta.triggers.event import Event
from workflows.errors import Conflict, DefinitionInvalid, InvalidInput, MetaError


def event_of(row: TriggerEventRow) -> Event:
    """A message that is held or dead, as it was when it came.

    Raises:
        InvalidInput: it cannot be read; only one that is dead because of that.
    """
    data, time = row.data or b"", row.event_time or row.received_at
    headers = {name: str(value) for name, value in row.headers.items()}
    place = Place(stream="", created="", sequence=0, time=time, deliveries=row.deliveries)
    # It was measured when it came. Its identity may be one that the trigger gave it, or of its place in its stream.
    event = decode(row.subject, data, headers, place, max_bytes=max(1, len(data)))
    return replace(event, identity=row.identity, stored=row.received_at)


def became(row: TriggerEventRow, event: Event | None = None) -> Started | None:
    """What became of a message.

    Args:
        row: what is known of it.
        event: a copy of it, which must tell the same.

    Returns:
        Its run, or None while it waits for others.

    Raises:
        Conflict: the copy tells something else.
        MetaError: it is dead or was discarded; with the reason.
    """
    if event is not None and row.digest and row.digest != event.digest:
        raise Conflict(
            f"a message with the identity {row.identity!r} came before, with other data",
            hint="what is new needs an identity of its own; repeat an old one only with what it first told",
        )
    if row.outcome == "held":
        return None
    if row.outcome == "started":
        return Started(row.run_id or "", created=False)
    raise error_of(row)


def error_of(row: TriggerEventRow) -> MetaError:
    """Why a message is dead, as it was raised."""
    kind = by_code().get(row.code, MetaError)
    if issubclass(kind, DefinitionInvalid) or kind.retryable:
        kind = InvalidInput
    return kind(row.reason or f"the message was {row.outcome}", hint=row.hint)
