"""Boolean CEL put together from parts, some of which are always true or never."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRUE, FALSE = "true", "false"
_LOOSE = re.compile(r"\|\||\?")


def all_of(parts: Iterable[str]) -> str:
    """Every part holds; empty parts say nothing."""
    kept = [part for part in dict.fromkeys(parts) if part not in ("", TRUE)]
    if FALSE in kept:
        return FALSE
    return " && ".join(_closed(part) for part in kept) if len(kept) > 1 else (kept or [TRUE])[0]


def any_of(parts: Iterable[str]) -> str:
    """Some part holds."""
    kept = [part for part in dict.fromkeys(parts) if part != FALSE]
    if TRUE in kept:
        return TRUE
    return " || ".join(kept) if kept else FALSE


def _closed(part: str) -> str:
    """In parentheses, where an operator that binds less than && may stand in it."""
    return f"({part})" if _LOOSE.search(part) else part
