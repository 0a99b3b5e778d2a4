"""A circuit breaker: what is known to be down is not asked for a while, and then by one call only.

It stands in front of all calls to one engine (`workers.http.ApiCaller`). Two things keep calls back: the engine is
down (several failures in a row that say so), or it asked for a pause (429 or 503 with `Retry-After`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from workers import metrics
from workers.backoff import Backoff

FAILURES = 5
"""Consecutive failures that open a circuit."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds that an open circuit keeps calls back: at first, and at most. It doubles with each probe that fails."""

_PROBE_LASTS = 60.0


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitView:
    """What is to be known of a circuit.

    Attributes:
        state: closed: calls go through; open: they fail at once; half open: one is on its way to try.
        since: when this state began. A probe does not change it: an engine that is down is down since it failed.
        failures: in a row, up to now.
        reason: the last failure, when there was one since the last success.
        retry_at: when the next call is let through; None when calls go through.
    """

    state: CircuitState
    since: datetime
    failures: int = 0
    reason: str = ""
    retry_at: datetime | None = None


class KeptBack(Exception):
    """The call was not made.

    Args:
        reason: what the engine said or did.
        since: when that began.
        retry_after: seconds until a call is let through.
        down: True when the engine is taken for down, False when it asked for a pause.
    """

    def __init__(self, reason: str, since: datetime, retry_after: float, *, down: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.since = since
        self.retry_after = retry_after
        self.down = down


class Circuit:
    """The circuit of one engine. Safe to use from any thread.

    Args:
        engine: its name, for metrics.
        clock: seconds, monotonic.
    """

    def __init__(self, engine: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._state = CircuitState.CLOSED
        self._since = datetime.now(UTC)
        self._failures = 0
        self._reason = ""
        self._retry_at = 0.0
        self._pause_until = 0.0
        self._pause_reason = ""
        self._backoff = Backoff(first=FIRST_PAUSE, limit=LONGEST_PAUSE)
        metrics.circuit_changed(engine, self._state.value)

    def view(self) -> CircuitView:
        with self._lock:
            left = self._retry_at - self._clock()
            open_ = self._state is not CircuitState.CLOSED
            retry_at = datetime.now(UTC) + timedelta(seconds=max(left, 0.0)) if open_ else None
            return CircuitView(self._state, self._since, self._failures, self._reason, retry_at)

    def check(self) -> None:
        """Fail if a call would be kept back now; lets nobody through.

        Raises:
            KeptBack: it would.
        """
        with self._lock:
            self._refuse()

    def enter(self) -> None:
        """Ask to make a call; whoever is let through reports `succeeded` or `failed`.

        Raises:
            KeptBack: not now.
        """
        with self._lock:
            self._refuse()
            if self._state is not CircuitState.CLOSED:
                # One probe; should it never report, another one goes later.
                self._retry_at = self._clock() + _PROBE_LASTS
                self._change(CircuitState.HALF_OPEN)

    def succeeded(self) -> None:
        """The engine answered, be it with a refusal."""
        with self._lock:
            self._failures = 0
            if self._state is not CircuitState.CLOSED:
                self._since = datetime.now(UTC)
                self._change(CircuitState.CLOSED)
            self._reason = ""
            self._backoff.reset()

    def failed(self, reason: str) -> None:
        """No answer, or one that says that the engine is down."""
        with self._lock:
            self._failures += 1
            self._reason = reason
            if self._state is CircuitState.CLOSED and self._failures < FAILURES:
                return
            if self._state is CircuitState.OPEN:
                return  # a call that was under way when it opened
            if self._state is CircuitState.CLOSED:
                self._since = datetime.now(UTC)
            self._retry_at = self._clock() + self._backoff.next()
            self._change(CircuitState.OPEN)

    def pause(self, seconds: float, reason: str) -> None:
        """The engine asked not to be called for a while."""
        with self._lock:
            self._pause_until = max(self._pause_until, self._clock() + min(seconds, LONGEST_PAUSE))
            self._pause_reason = reason

    def _refuse(self) -> None:
        now = self._clock()
        if self._state is not CircuitState.CLOSED and now < self._retry_at:
            left = self._retry_at - now
            if self._state is CircuitState.HALF_OPEN:
                left = min(left, FIRST_PAUSE)  # the probe will have told by then
            raise KeptBack(self._reason, self._since, left, down=True)
        if now < self._pause_until:
            raise KeptBack(self._pause_reason, datetime.now(UTC), self._pause_until - now, down=False)

    def _change(self, state: CircuitState) -> None:
        if state is not self._state:
            self._state = state
            metrics.circuit_changed(self._engine, state.value)
