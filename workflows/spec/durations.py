"""Durations as people write them: 30s, 2h, 1h30m."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: it is not one; the message shows the form.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(rf"({_PART.pattern})+", value):
        raise ValueError(f"{value!r} is not a duration; write it as 30s, 10m, 2h or 1h30m")
    return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in _PART.findall(value)))


def format_duration(value: timedelta) -> str:
    """The shortest form that `parse_duration` reads back as the same."""
    milliseconds = round(value.total_seconds() * 1000)
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_time(text: str) -> datetime:
    """A point in time with its time zone.

    Raises:
        ValueError: it is none; the message says how one is written.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"'{text}' is no point in time; write it as 2030-01-31T03:00:00Z")
    return found
