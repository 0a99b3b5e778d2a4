"""What workers count, through OpenTelemetry's metrics API. Without a provider, counting does nothing.

| instrument | unit | attributes |
|---|---|---|
| `meta.engine.requests` | requests | engine, method, outcome: `ok`, `rejected`, `unavailable`, `kept_back` |
| `meta.engine.request.duration` | seconds | engine, method, outcome; not of those that were kept back |
| `meta.engine.circuit` | 0 closed, 1 half open, 2 open | engine |
| `meta.engine.awaited_runs` | waits | engine |
| `meta.engine.watcher.age` | seconds since an engine's watcher last had an answer; while somebody waits | engine |
| `meta.engine.watcher.restarts` | restarts | engine, reason: `broken` (the stream ended), `died` (a bug of ours) |
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

_meter = metrics.get_meter("meta_workflows.workers")
_requests = _meter.create_counter("meta.engine.requests", "{request}", "Requests to an engine's API.")
_duration = _meter.create_histogram(
    "meta.engine.request.duration",
    "s",
    "From sending a request to the head of its answer.",
    explicit_bucket_boundaries_advisory=[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
)
_circuit = _meter.create_gauge("meta.engine.circuit", "1", "0: closed, 1: half open, 2: open.")
_awaited = _meter.create_up_down_counter("meta.engine.awaited_runs", "{wait}", "Engine runs that are waited for.")
_restarts = _meter.create_counter("meta.engine.watcher.restarts", "{restart}", "Watchers that had to begin again.")

_heard: dict[str, float] = {}  # by engine, on the monotonic clock


def _watcher_ages(_options: CallbackOptions) -> Iterable[Observation]:
    now = time.monotonic()
    return [Observation(now - at, {"engine": engine}) for engine, at in list(_heard.items())]


_meter.create_observable_gauge(
    "meta.engine.watcher.age", [_watcher_ages], "s", "Since an engine's watcher last had an answer."
)

_STATES = {"closed": 0, "half_open": 1, "open": 2}


def request_ended(engine: str, method: str, outcome: str, seconds: float | None) -> None:
    """A request was answered, refused, or not made; `seconds` is None when it was not made."""
    attributes = {"engine": engine, "method": method, "outcome": outcome}
    _requests.add(1, attributes)
    if seconds is not None:
        _duration.record(seconds, attributes)


def circuit_changed(engine: str, state: str) -> None:
    _circuit.set(_STATES[state], {"engine": engine})


def waits_changed(engine: str, by: int) -> None:
    _awaited.add(by, {"engine": engine})


def watcher_heard(engine: str) -> None:
    """The watcher begins, or the engine has answered it."""
    _heard[engine] = time.monotonic()


def watcher_idle(engine: str) -> None:
    """Nobody waits any more, so the watcher asks nothing."""
    _heard.pop(engine, None)


def watcher_restarted(engine: str, reason: str) -> None:
    _restarts.add(1, {"engine": engine, "reason": reason})
