"""The one retry helper: exponential delays with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


def jittered(seconds: float) -> float:
    """A time that somebody asked us to wait, or a little longer: not all who were told the same come back at once."""
    return seconds * random.uniform(1.0, 1.25)


@dataclass(slots=True)
class Backoff:
    """Delays that grow from `first` to `limit`, each drawn at random so that many clients do not come in step.

    Attributes:
        first: upper bound of the first delay, in seconds.
        limit: upper bound of all delays, in seconds.
        factor: growth from one bound to the next.
    """

    first: float = 0.2
    limit: float = 10.0
    factor: float = 2.0
    _bound: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._bound = self.first

    def next(self, asked: float | None = None) -> float:
        """The next delay in seconds: between half of the current bound and the whole of it.

        Args:
            asked: seconds that the server asked for (`Retry-After`); the delay is no shorter.
        """
        bound = self._bound
        self._bound = min(bound * self.factor, self.limit)
        return max(bound * random.uniform(0.5, 1.0), jittered(asked or 0.0))

    def reset(self) -> None:
        """Start again from `first`, after a success."""
        self._bound = self.first
