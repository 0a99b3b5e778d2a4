"""How soon to ask a server again that has no watch: often when a run is likely to end, seldom otherwise.

A run that was just submitted may fail at once, so it is young that it is asked about often; with its age the interval
grows, by a twentieth, so that an end is seen late by no more than a twentieth of what the run took. When runs of the
same kind have ended before, the time about which they did is a time to ask often again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_SHARE = 0.05
_WEIGHT = 0.3
_KINDS = 1000


@dataclass(slots=True)
class _Duration:
    """A moving average of what runs took, and of how far they were from it; seconds."""

    mean: float
    spread: float

    def learn(self, seconds: float) -> None:
        off = abs(seconds - self.mean)
        self.mean += _WEIGHT * (seconds - self.mean)
        self.spread += _WEIGHT * (off - self.spread)


def kind_of(name: str) -> str:
    """What runs of the same step have in common: the name without the hash at its end."""
    return name.rpartition("-")[0] or name


class Pace:
    """Learns what runs take, and says how long to wait before the next list.

    Args:
        fastest: seconds, the shortest interval.
        slowest: seconds, the longest; not below `fastest`.
        clock: seconds, monotonic.
    """

    def __init__(self, fastest: float, slowest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fastest = fastest
        self._slowest = max(slowest, fastest)
        self._clock = clock
        self._learned: OrderedDict[str, _Duration] = OrderedDict()
        self._started: dict[str, tuple[str, float]] = {}

    def started(self, run: str, kind: str) -> None:
        """A run is waited for from now on. A second wait for it, or a repeat, changes nothing."""
        self._started.setdefault(run, (kind, self._clock()))

    def left(self, run: str) -> None:
        """Nobody waits for a run any more, and nothing is learned from that."""
        self._started.pop(run, None)

    def ended(self, run: str) -> None:
        """A run has ended just now. Told again it changes nothing."""
        kind, began = self._started.get(run, ("", 0.0))
        if not kind:
            return
        self._started[run] = ("", self._clock())  # young again, until its wait has read it too
        seconds = self._clock() - began
        if (known := self._learned.get(kind)) is None:
            self._learned[kind] = _Duration(seconds, seconds / 4)
            if len(self._learned) > _KINDS:
                self._learned.popitem(last=False)
        else:
            known.learn(seconds)
            self._learned.move_to_end(kind)

    def interval(self) -> float:
        """Seconds until the next list."""
        now = self._clock()
        wanted = min((self._wanted(kind, now - began) for kind, began in self._started.values()), default=self._slowest)
        return min(max(wanted, self._fastest), self._slowest)

    def _wanted(self, kind: str, age: float) -> float:
        if (known := self._learned.get(kind)) is None:
            return age * _SHARE
        margin = 2 * known.spread + self._fastest
        begins, ends = known.mean - margin, known.mean + margin
        if age < begins:
            return min(age * _SHARE, begins - age)
        return 0.0 if age <= ends else (age - ends) * _SHARE
