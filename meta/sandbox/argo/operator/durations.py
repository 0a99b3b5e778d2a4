"""Durations in manifests (ParseStringToDuration), and how messages show them."""

from __future__ import annotations

import re
from datetime import timedelta

from meta.sandbox.argo.operator.context import OperationError

_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")  # Go's time.ParseDuration
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> timedelta:
    """Read `10` (seconds), `30s`, `1h30m`.

    Raises:
        OperationError: not a duration.
    """
    if re.fullmatch(r"[+-]?\d+", text):
        return timedelta(seconds=int(text))
    bare = text.removeprefix("-").removeprefix("+")
    if not bare or _PART.sub("", bare) not in {"", "0"}:
        raise OperationError(f'unable to parse {text} as a duration: time: invalid duration "{text}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(bare))
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def humanize(value: timedelta) -> str:
    """At most two units, as the controller's messages have it: `1 minute 30 seconds` (util/humanize)."""
    seconds = int(value.total_seconds())
    units = [("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)]
    for (unit, length), smaller in zip(units, [*units[1:], None], strict=True):
        count = seconds // length
        if count or smaller is None:
            text = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
            return text if smaller is None else f"{text} {seconds % length // smaller[1]} {smaller[0]}s"
    return "0 seconds"
