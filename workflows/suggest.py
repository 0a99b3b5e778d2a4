"""Did you mean: the closest known name to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` is most likely a slip of; None when none is near."""
    lower = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str], *, what: str = "") -> str:
    """`did you mean 'train'?`, else the known names when they are few, else nothing.

    Args:
        word: what was written.
        known: the names that would have been right.
        what: the plural to list them under, as `steps`.
    """
    names = sorted(set(known))
    if (match := closest(word, names)) is not None:
        return f"did you mean '{match}'?"
    if what and not names:
        return f"there are no {what}"
    if what and len(names) <= 12:
        return f"{what}: {', '.join(names)}"
    return ""
