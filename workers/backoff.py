"""The one retry helper: exponential delays with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


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

    def next(self) -> float:
        """The next delay in seconds: between half of the current bound and the whole of it."""
        bound = self._bound
        self._bound = min(bound * self.factor, self.limit)
        return bound * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again from `first`, after a success."""
        self._bound = self.first
