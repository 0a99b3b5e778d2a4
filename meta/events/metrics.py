"""What the publisher counts, through OpenTelemetry's metrics API. Without a provider, counting does nothing.

| instrument | unit | attributes |
|---|---|---|
| `meta.outbox.size` | events that wait to be sent | |
| `meta.outbox.age` | seconds since the oldest of them was written | |
| `meta.events.published` | events that NATS has taken | |
| `meta.events.failures` | failed publishes | reason: `unanswered`, `refused`, `set_aside`, `reply` |
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from opentelemetry import metrics

_meter = metrics.get_meter("meta_workflows.events")
_size = _meter.create_gauge("meta.outbox.size", "{event}", "Life-cycle events that wait to be sent.")
_age = _meter.create_gauge("meta.outbox.age", "s", "Since the oldest of them was written.")
_published = _meter.create_counter("meta.events.published", "{event}", "Life-cycle events that NATS has taken.")
_failures = _meter.create_counter("meta.events.failures", "{failure}", "Publishes that failed.")


class Failure(StrEnum):
    """Why a publish failed: NATS did not answer, may answer otherwise later, never will; or it was of a reply."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"
    REPLY = "reply"


def outbox_measured(count: int, oldest: datetime | None) -> None:
    _size.set(count)
    _age.set(0.0 if oldest is None else max((datetime.now(UTC) - oldest).total_seconds(), 0.0))


def published(count: int) -> None:
    _published.add(count)


def failed(reason: Failure) -> None:
    _failures.add(1, {"reason": reason.value})
