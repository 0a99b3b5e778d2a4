"""Subjects of NATS: tokens between dots, `*` for one token, `>` for one or more at the end.

Source: https://docs.nats.io/nats-concepts/subjects
"""

from __future__ import annotations

import re

EVENTS = "meta.events."
TRIGGER = "meta.trigger."
DEAD = "meta.dead."
"""How the service's own subjects begin: life-cycle events, starts by name, dead letters."""

MAX_SUBJECT = 200
"""Longest subject, in characters; nats-server itself takes more, but consumers and headers carry it too."""

_TOKEN = re.compile(r"^[^\s.*>\x00-\x1f\x7f]+$")


def subject_fault(subject: str, *, wildcards: bool) -> str:
    """Why a text is no subject; empty when it is one.

    Args:
        subject: the text.
        wildcards: whether `*` and `>` may stand in it.
    """
    if not subject or len(subject) > MAX_SUBJECT:
        return f"the subject has {len(subject)} characters; it is 1 to {MAX_SUBJECT}"
    tokens = subject.split(".")
    for at, token in enumerate(tokens):
        if fault := _token_fault(token, last=at == len(tokens) - 1, wildcards=wildcards):
            return fault
    return ""


def _token_fault(token: str, *, last: bool, wildcards: bool) -> str:
    if not token:
        return "a subject has no empty part: no dot at its ends, no two dots in a row"
    if token in ("*", ">"):
        if not wildcards:
            return f"'{token}' cannot stand in a subject to publish to"
        return "" if token == "*" or last else "'>' stands at the end of a subject only"
    if not _TOKEN.fullmatch(token):
        return f"'{token}' is no part of a subject: no spaces; '*' and '>' stand alone between dots"
    return ""


def overlaps(first: str, second: str) -> bool:
    """Whether some subject matches both patterns."""
    a, b = first.split("."), second.split(".")
    for one, other in zip(a, b, strict=False):
        if ">" in (one, other):
            return True
        if one != other and "*" not in (one, other):
            return False
    return len(a) == len(b)


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that matches `narrow` matches `wide`."""
    a, b = wide.split("."), narrow.split(".")
    for at, one in enumerate(a):
        if one == ">":
            return len(b) > at
        if at >= len(b) or b[at] == ">" or (one != b[at] and one != "*"):
            return False
    return len(a) == len(b)
