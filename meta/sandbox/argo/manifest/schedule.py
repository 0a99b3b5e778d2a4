"""The fields of a CronWorkflow that say when it runs: checked as the real server does, fired by nobody here."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.state.status import JsonObject

_EVERY = re.compile(r"@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
_NAMED = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, {name: n for n, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: n for n, name in enumerate(_DAYS)}),
)  # fmt: skip
_POLICIES = ("", "Allow", "Forbid", "Replace")


def check_cron(spec: JsonObject) -> None:
    """Check a CronWorkflow's own fields (ValidateCronWorkflow).

    Raises:
        ManifestError: the first that is wrong.
    """
    schedules = spec.get("schedules")
    if not isinstance(schedules, list) or not schedules:
        raise ManifestError("cron workflow must have at least one schedule")
    for schedule in schedules:
        if not isinstance(schedule, str) or not _is_schedule(schedule):
            raise ManifestError(f"cron schedule {schedule} is malformed: expected five fields or a descriptor")
    zone = str(spec.get("timezone") or "UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ManifestError(f'invalid timezone "{zone}": unknown time zone {zone}') from error
    if (policy := spec.get("concurrencyPolicy") or "") not in _POLICIES:
        raise ManifestError(f"'{policy}' is not a valid concurrencyPolicy")
    seconds = spec.get("startingDeadlineSeconds")
    if isinstance(seconds, int) and seconds < 0:
        raise ManifestError("startingDeadlineSeconds must be positive")


def _is_schedule(text: str) -> bool:
    """Whether robfig/cron's standard parser takes it."""
    text = re.sub(r"^(CRON_)?TZ=\S+\s+", "", text)
    if text.startswith("@"):
        return text in _NAMED or _EVERY.fullmatch(text) is not None
    fields = text.split()
    return len(fields) == len(_FIELDS) and all(
        _is_part(part, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True) for part in field.split(",")
    )


def _is_part(part: str, low: int, high: int, names: dict[str, int]) -> bool:
    values, slash, step = part.partition("/")
    if slash and (not step.isdigit() or int(step) == 0):
        return False
    if values in {"*", "?"}:
        return True
    bounds = [names.get(value.lower(), int(value) if value.isdigit() else -1) for value in values.split("-")]
    return len(bounds) in {1, 2} and all(low <= value <= high for value in bounds) and bounds == sorted(bounds)
