"""What a span's attributes say, for those who show it; the names are those that `meta.trace.spans` writes."""

from __future__ import annotations

from meta.trace.attributes import (
    ACTIVITY,
    ATTEMPT,
    NODE_CACHED,
    NODE_PHASE,
    NODE_TYPE,
    RUN_STATE,
    STEP,
    STEP_STATE,
)
from meta.trace.model import Part, Span, Status

_STATES = {Part.RUN: RUN_STATE, Part.STEP: STEP_STATE, Part.NODE: NODE_PHASE}
_HOLDERS = frozenset({"DAG", "Steps", "StepGroup", "TaskGroup", "Retry"})
_GROUPS = frozenset({"StepGroup", "TaskGroup"})


def step_of(span: Span) -> str:
    """Name of its step; empty where it is of none."""
    return _text(span, STEP) or (span.name.removeprefix("step ") if span.part is Part.STEP else "")


def state_of(span: Span) -> str:
    """In our words or the engine's, in small letters; where nothing is said, by its end and status."""
    if said := _STATES.get(span.part or Part.WORK, ""):
        if state := _text(span, said):
            return state.lower()
    if span.end is None:
        return "running"
    return "failed" if span.status is Status.ERROR else "succeeded"


def has_failed(span: Span) -> bool:
    return span.status is Status.ERROR


def is_cached(span: Span) -> bool:
    return span.attributes.get(NODE_CACHED) is True


def attempt_of(span: Span) -> int:
    """Number of its attempt; 0 where it is of none."""
    found = span.attributes.get(ATTEMPT)
    return found if isinstance(found, int) else 0


def activity_of(span: Span) -> str:
    """What a try of an activity was of."""
    return _text(span, ACTIVITY) or span.name


def holds_nodes(span: Span) -> bool:
    """Whether a node is of a kind that only holds others, even if none is below it."""
    return _text(span, NODE_TYPE) in _HOLDERS


def is_group(span: Span) -> bool:
    """Whether a node is only the engine's way to say which others go together."""
    return _text(span, NODE_TYPE) in _GROUPS


def _text(span: Span, name: str) -> str:
    found = span.attributes.get(name)
    return found if isinstance(found, str) else ""
