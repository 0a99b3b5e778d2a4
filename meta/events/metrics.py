"""What the publisher counts, through OpenTelemetry's metrics API. Without a provider, counting does nothing.

| instrument | unit | attributes |
|---|---|---|
| `meta.events.published` | events that NATS has taken | |
| `meta.events.failures` | failed publishes | reason: `unanswered`, `refused`, `set_aside`, `reply` |
"""

from __future__ import annotations

from enum import StrEnum

from opentelemetry import metrics

_meter = metrics.get_meter("meta_workflows.events")
_published = _meter.create_counter("meta.events.published", "{event}", "Life-cycle events that NATS has taken.")
_failures = _meter.create_counter("meta.events.failures", "{failure}", "Publishes that failed.")


class Failure(StrEnum):
    """Why a publish failed: NATS did not answer, may answer otherwise later, never will; or it was of a reply."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"
    REPLY = "reply"


def published(count: int) -> None:
    _published.add(count)


def failed(reason: Failure) -> None:
    _failures.add(1, {"reason": reason.value})
