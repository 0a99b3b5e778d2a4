"""News of runs for whoever watches: one poller for the whole service, however many watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from meta.store import Store
from workflows.errors import ServiceUnavailable
from workflows.messages import RunSnapshot

log = logging.getLogger(__name__)

POLL_S = 0.25


@dataclass
class _Topic:
    """A watched run. `revision` is -1 until the poller has seen it."""

    watchers: int = 0
    revision: int = -1
    snapshot: RunSnapshot | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class RunFeed:
    """Asks the store for the revisions of all watched runs at once, and reads only what has changed.

    A watcher that is slow, or a run that changes twice between two looks, misses states in between, never the last.
    """

    def __init__(self, store: Store, poll_s: float = POLL_S) -> None:
        self._store = store
        self._poll_s = poll_s
        self._topics: dict[str, _Topic] = {}
        self._wanted = asyncio.Event()
        self._closing = False

    @property
    def watched(self) -> list[str]:
        return list(self._topics)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._look()
            except ServiceUnavailable as error:
                log.warning("watchers wait: %s", error)
            await asyncio.sleep(self._poll_s)

    async def close(self) -> None:
        """End every watch, so that clients turn to another service, or to this one when it is back."""
        self._closing = True
        for topic in list(self._topics.values()):
            async with topic.changed:
                topic.changed.notify_all()

    async def watch(self, run_id: str) -> AsyncGenerator[RunSnapshot]:
        """A run now, then after changes, until it has ended.

        Raises:
            ServiceUnavailable: the service stops.
        """
        async with self._topic(run_id) as topic:
            seen = -1
            while True:
                async with topic.changed:
                    while topic.revision == seen and not self._closing:
                        await topic.changed.wait()
                    seen, snapshot = topic.revision, topic.snapshot
                if self._closing:
                    raise ServiceUnavailable("the service is stopping", hint="watch again; the run goes on")
                assert snapshot is not None  # set before the revision leaves -1
                yield snapshot
                if snapshot.state.ended:
                    return

    @asynccontextmanager
    async def _topic(self, run_id: str) -> AsyncGenerator[_Topic]:
        topic = self._topics.setdefault(run_id, _Topic())
        topic.watchers += 1
        self._wanted.set()
        try:
            yield topic
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[run_id]
            if not self._topics:
                self._wanted.clear()

    async def _look(self) -> None:
        revisions = await self._store.runs.revisions(self.watched)
        changed = [i for i, r in revisions.items() if (t := self._topics.get(i)) is not None and t.revision != r]
        for run_id, (revision, snapshot) in (await self._store.runs.get_many(changed)).items():
            topic = self._topics.get(run_id)
            if topic is None:  # the last watcher left meanwhile
                continue
            async with topic.changed:
                topic.revision, topic.snapshot = revision, snapshot
                topic.changed.notify_all()
