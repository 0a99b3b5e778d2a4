"""Times of schedules and partitions as texts, and the request ids that are made from them: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """A point in time in UTC: `2026-01-31T03:00:00Z`, with a fraction only where there is one."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def schedule_request(trigger: str, planned: datetime) -> str:
    """Request id of a schedule's run: one for each planned time, however often the schedule is taken up again."""
    return f"schedule/{trigger}/{rfc3339(planned)}"


def partition_prefix(start: datetime, end: datetime) -> str:
    """What the request ids of a partition's attempts begin with, whichever backfill runs them."""
    return f"backfill/{rfc3339(start)}/{rfc3339(end)}/"


def attempt_of(request_id: str) -> int:
    """Number of the attempt, from the request id of a partition's run; 0 when it is none."""
    number = request_id.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0
