"""Events and triggers as protobuf messages."""

from __future__ import annotations

from meta.api import convert
from meta.api.trigger_report import Standing
from meta.api.v1 import meta_pb2 as pb
from meta.store.event_tables import TriggerEventRow
from meta.triggers.replay import Replayed


def to_event(row: TriggerEventRow, data: bytes | None = None) -> pb.Event:
    """A message.

    Args:
        row: whose data need not be loaded.
        data: its bytes, where they are to be shown.
    """
    return pb.Event(
        id=row.id,
        source=row.source,
        subject=row.subject,
        workflow=row.workflow,
        trigger=row.trigger,
        identity=row.identity,
        outcome=row.outcome,
        run_id=row.run_id or "",
        code=row.code,
        reason=row.reason,
        hint=row.hint,
        deliveries=row.deliveries,
        event_time=convert.to_timestamp(row.event_time),
        received_at=convert.to_timestamp(row.received_at),
        updated_at=convert.to_timestamp(row.updated_at),
        headers={_text(name): _text(str(value)) for name, value in row.headers.items()},
        data=data or b"",
    )


def _text(value: str) -> str:
    """Without what UTF-8 cannot say: bytes of a header that were no text arrive as lone surrogates."""
    return value.encode(errors="replace").decode()


def to_replayed(replayed: Replayed) -> pb.ReplayedEvent:
    return pb.ReplayedEvent(
        id=replayed.event_id,
        outcome=replayed.outcome,
        run_id=replayed.run_id,
        created=replayed.created,
        code=replayed.code,
        reason=replayed.reason,
        hint=replayed.hint,
    )


def to_trigger(standing: Standing) -> pb.TriggerStatus:
    return pb.TriggerStatus(
        workflow=standing.workflow,
        name=standing.name,
        subject=standing.subject,
        stream=standing.stream,
        consumer=standing.consumer,
        state=standing.state,
        message=standing.message,
        hint=standing.hint,
        pending=standing.pending,
        unacknowledged=standing.unacknowledged,
        updated_at=convert.to_timestamp(standing.updated_at),
        spec_json=convert.to_json(standing.spec),
    )
