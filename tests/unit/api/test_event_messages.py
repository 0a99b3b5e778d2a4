from __future__ import annotations

from datetime import UTC, datetime

from meta.api.event_messages import to_event
from meta.store.event_tables import TriggerEventRow


def test_a_header_that_is_no_text_does_not_keep_an_event_from_being_shown() -> None:
    row = TriggerEventRow(
        id="ev-1", source="nats", subject="a.b", workflow="chain", outcome="dead", headers={"x": "caf\udce9", "n": 1},
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    event = to_event(row, data=b"\xff")
    assert dict(event.headers) == {"x": "caf?", "n": "1"}
    assert (event.data, event.HasField("event_time")) == (b"\xff", False)
