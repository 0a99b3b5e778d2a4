"""Times in the form of cron, as far as Temporal's schedules take them.

Source: Temporal's API, `ScheduleSpec.cron_string`: five fields, or one of the words; a day of the month and a day of
the week that are both given must both hold, which is not what the classic cron does.
"""

from __future__ import annotations

import re

_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def cron_fault(cron: str) -> str:
    """Why a text is no cron; empty when it is one."""
    if cron.startswith("@"):
        return "" if cron in _WORDS else f"the words are {', '.join(_WORDS)}"
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        return f"it has {len(fields)} fields, not {len(_FIELDS)}"
    return next((fault for text, field in zip(fields, _FIELDS, strict=True) if (fault := _fault(text, *field))), "")


def _fault(text: str, field: str, low: int, high: int, names: tuple[str, ...]) -> str:
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return f"{field}: '{part}' is none of *, 5, 1-5, */5, 1-5/2"
        first, last, step = match.groups()
        numbers = [_number(word, low, names) for word in (first, last) if word is not None]
        for word, number in zip((first, last), numbers, strict=False):
            if number is None or not low <= number <= high:
                more = " (Sunday is 0)" if names is _DAYS else ""
                return f"{field}: '{word}' is not within {low} and {high}{more}"
        if len(numbers) > 1 and (numbers[0] or 0) > (numbers[1] or 0):
            return f"{field}: '{part}' ends before it begins"
        if step is not None and int(step) == 0:
            return f"{field}: '{part}' steps by nothing"
    return ""


def _number(word: str, low: int, names: tuple[str, ...]) -> int | None:
    if word.isdecimal():
        return int(word)
    return names.index(word.lower()) + low if word.lower() in names else None
