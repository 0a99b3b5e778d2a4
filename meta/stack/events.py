"""What the supervisor tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from meta.stack.names import PartName


class EventKind(StrEnum):
    STARTING = "starting"
    PROGRESS = "progress"
    READY = "ready"
    MOVED = "moved"
    DIED = "died"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One line for people.

    Attributes:
        kind: what happened.
        part: to which part.
        text: in words; for DIED with the exit code, the wait before the next try, and where the log is.
    """

    kind: EventKind
    part: PartName
    text: str


Listener = Callable[[StackEvent], None]


def silent(_event: StackEvent) -> None:
    """Nobody watches."""
