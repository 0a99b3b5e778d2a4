"""What the service reads from the store for its gauges, so that they are right after a restart.

| instrument | unit | attributes |
|---|---|---|
| `meta.runs.running` | meta-runs that have not ended | workflow |
| `meta.workers` | worker processes that have written down their circuits of late | |
| `meta.trigger.dead` | messages that could not start a run and wait for somebody; where NATS is configured | workflow, trigger |
| `meta.outbox.size` | events that wait to be sent; where NATS is configured | |
| `meta.outbox.age` | seconds since the oldest of them was written | |

Every service tells the same of the store that they share: take the greatest, not the sum. While the store does not
answer there are none. The names of meta-workflows whose runs have ended are told with 0 as long as the process lives.
"""  # noqa: E501 -- a row of a table is one line

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from meta.store import Store
from meta.store.outbox import OutboxSize
from workflows.errors import ServiceUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    workers: int | None = None
    dead: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    outbox: OutboxSize | None = None


_seen = _Seen()  # of the process, as its instruments are


class Gauges:
    """Background job of the service.

    Args:
        store: to ask.
        nats: there is somebody to send events to.
        every: seconds between two looks.
    """

    def __init__(self, store: Store, *, nats: bool, every: float) -> None:
        self._store = store
        self._nats = nats
        self._every = every
        self._told: dict[str, int] = {}
        self._told_dead: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Look until cancelled; then there is nothing to tell any more."""
        global _seen  # noqa: PLW0603 -- what the instruments' callbacks read, in another thread
        try:
            while True:
                try:
                    _seen = await self.look()
                except ServiceUnavailable as error:
                    _seen = _Seen()
                    log.warning("the store's gauges are not told now: %s", error)
                await asyncio.sleep(self._every)
        finally:
            _seen = _Seen()

    async def look(self) -> _Seen:
        running = await self._store.runs.running()
        self._told = dict.fromkeys(self._told, 0) | running
        if self._nats:
            self._told_dead = dict.fromkeys(self._told_dead, 0) | await self._store.triggers.dead()
        circuits = await self._store.circuits.fresh()
        return _Seen(
            running=dict(self._told),
            workers=len({one.worker for engine in circuits.values() for one in engine}),
            dead=dict(self._told_dead),
            outbox=await self._store.outbox.size() if self._nats else None,
        )


def _running(_options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(count, {"workflow": workflow}) for workflow, count in _seen.running.items()]


def _workers(_options: CallbackOptions) -> Iterable[Observation]:
    return [] if _seen.workers is None else [Observation(_seen.workers)]


def _dead(_options: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(count, {"workflow": workflow, "trigger": trigger})
        for (workflow, trigger), count in _seen.dead.items()
    ]


def _size(_options: CallbackOptions) -> Iterable[Observation]:
    return [] if _seen.outbox is None else [Observation(_seen.outbox.count)]


def _age(_options: CallbackOptions) -> Iterable[Observation]:
    if _seen.outbox is None:
        return []
    oldest = _seen.outbox.oldest
    return [Observation(0.0 if oldest is None else max((datetime.now(UTC) - oldest).total_seconds(), 0.0))]


_meter = metrics.get_meter("meta_workflows.service")
_meter.create_observable_gauge("meta.runs.running", [_running], "{run}", "Meta-runs that have not ended.")
_meter.create_observable_gauge("meta.workers", [_workers], "{process}", "Workers that have written of late.")
_meter.create_observable_gauge("meta.trigger.dead", [_dead], "{message}", "Messages that wait for somebody.")
_meter.create_observable_gauge("meta.outbox.size", [_size], "{event}", "Life-cycle events that wait to be sent.")
_meter.create_observable_gauge("meta.outbox.age", [_age], "s", "Since the oldest of them was written.")
