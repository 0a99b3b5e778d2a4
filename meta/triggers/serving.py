"""The consumers that this service works on, each one with the messages it has in work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from nats.aio.client import Client
from nats.js import JetStreamContext

from meta.api.starter import Starter
from meta.config import NatsConfig
from meta.store import Store
from meta.triggers.beginning import plain_way, way_of
from meta.triggers.consumer import Consumer
from meta.triggers.dead import DeadLetters
from meta.triggers.handling import Handler, Source
from meta.triggers.intake import Intake
from meta.triggers.streams import Bound
from meta.triggers.suspects import Suspects
from workflows.spec.subjects import TRIGGER
from workflows.spec.trigger_models import NatsTrigger, seconds_between

log = logging.getLogger(__name__)

MOST = 32
"""Messages of a trigger in work at a time."""
MOST_GATHERED = 2000
"""More are fetched when half of them are done: so a batch or burst of a thousand comes together."""
BROKEN_S = 1.0
"""A consumer that breaks again and again is looked at so often."""
RESTART_S = 1.0

PLAIN = Source("", NatsTrigger(subject=f"{TRIGGER}>"))
"""The service's own subject, on which a message names the workflow: as if it were a trigger with the defaults."""


@dataclass(frozen=True, slots=True)
class _Running:
    source: Source
    consumer: Consumer
    beside: asyncio.Task[None] | None


class Serving:
    """Consumers by source. `nudge` is called when one has ended by itself."""

    def __init__(self, config: NatsConfig, starter: Starter, store: Store, nudge: Callable[[], None]) -> None:
        self._config = config
        self._starter = starter
        self._store = store
        self._nudge = nudge
        self._running: dict[tuple[str, str], _Running] = {}
        self._look_at = 0.0

    @property
    def sources(self) -> Collection[tuple[str, str]]:
        """Workflow and key of all that are worked on."""
        return self._running.keys()

    async def serve(self, client: Client, js: JetStreamContext, place: Bound, name: str, source: Source) -> None:
        """Work on a consumer that is there, unless that is what we do.

        Args:
            client: connected.
            js: of the client.
            place: its stream.
            name: its durable name.
            source: whose messages it gives.
        """
        running = self._running.get(source.place)
        if running is not None:
            if running.source == source and running.consumer.place == place and not running.consumer.ended:
                return
            await self.stop(source.place)
        if source.workflow:
            way = way_of(self._starter, self._store, source.workflow, source.trigger)
        else:
            way = plain_way(self._starter, self._store)
        dead = DeadLetters(client, js, Intake(self._starter, self._store))
        suspects = None if source.trigger.gathers else Suspects(self._store.triggers, way.begin)
        handler = Handler(source, place.created, way.begin, dead, self._config.max_event, suspects=suspects)
        consumer = Consumer(
            client, js, place, name, handler,
            most=most_of(source.trigger), keep_s=source.trigger.ack_wait / timedelta(seconds=3), on_broken=self._broken,
        )  # fmt: skip
        beside = asyncio.create_task(_kept_up(way.run, name)) if way.run is not None else None
        self._running[source.place] = _Running(source, consumer, beside)
        await consumer.start()
        log.info("listening for messages on %s", source.trigger.subject)

    def _broken(self) -> None:
        now = time.monotonic()
        self._look_at = max(now, self._look_at + BROKEN_S)
        asyncio.get_running_loop().call_later(self._look_at - now, self._nudge)

    async def stop(self, place: tuple[str, str]) -> None:
        """Work on a source no more; what is in work is given back. One that is not worked on is fine."""
        if (running := self._running.pop(place, None)) is None:
            return
        await running.consumer.stop()
        if running.beside is not None:
            running.beside.cancel()
            await asyncio.gather(running.beside, return_exceptions=True)

    async def stop_all(self) -> None:
        """Work on nothing any more."""
        await asyncio.gather(*(self.stop(place) for place in list(self._running)))


def most_of(trigger: NatsTrigger) -> int:
    """How many messages of a trigger are in work at a time.

    Those that its limits keep waiting are few, so that each one's turn comes before it has been handed over often.
    """
    if trigger.batch is not None:
        return min(MOST_GATHERED, max(MOST, 2 * trigger.batch.max))
    if trigger.debounce is not None:
        return MOST_GATHERED
    if trigger.rate is not None and seconds_between(trigger.rate) > 0.1:
        return 2
    return min(MOST, trigger.concurrency or MOST)


async def _kept_up(job: Callable[[], Awaitable[None]], name: str) -> None:
    while True:
        try:
            return await job()
        except Exception:  # a fault of ours must not end what gathers for good; the log has it
            log.exception("what works beside consumer %s failed; starting it again", name)
        await asyncio.sleep(RESTART_S)
