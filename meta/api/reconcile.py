"""Finds runs that ended in Temporal without telling the store, as one terminated in the Web UI does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from meta.api.feed import RunFeed
from meta.api.temporal import Gone, TemporalRuns
from meta.store import Store
from workers.log_context import note_run
from workflows.errors import MetaError, ServiceUnavailable

log = logging.getLogger(__name__)

WATCHED_S = 3.0
ALL_S = 30.0
_AT_ONCE = 8


class Reconciler:
    """Asks Temporal about watched runs often, and about every run that the store calls running now and then."""

    def __init__(
        self,
        store: Store,
        temporal: TemporalRuns,
        feed: RunFeed,
        *,
        watched_s: float = WATCHED_S,
        all_s: float = ALL_S,
        gone: Callable[[], None] | None = None,
        adopt: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Make one.

        Args:
            store: to bring up to date.
            temporal: to ask.
            feed: says which runs are watched.
            watched_s: seconds between two looks at watched runs.
            all_s: seconds between two looks at all of them.
            adopt: writes down a run that the store knows from its attempts only, because whoever started it went away.
            gone: called when a run has ended without its workflow's last word: nobody has ended its engine runs.
        """
        self._gone = gone
        self._adopt = adopt
        self._store = store
        self._temporal = temporal
        self._feed = feed
        self._watched_s = watched_s
        self._all_s = all_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Sweep until cancelled."""
        next_full = time.monotonic()
        while True:
            try:
                unended = await self._store.runs.unended()
                full = time.monotonic() >= next_full
                if full:
                    await self._adopt_unknown()
                    next_full = time.monotonic() + self._all_s
                watched = set(self._feed.watched)
                await asyncio.gather(*(self._settle(i) for i in unended if full or i in watched))
            except ServiceUnavailable as error:
                log.info("cannot reconcile now: %s", error)
            await asyncio.sleep(self._watched_s)

    async def _adopt_unknown(self) -> None:
        if self._adopt is None:
            return
        for run_id in await self._store.runs.undescribed():
            try:
                await self._adopt(run_id)
                log.info("run %s was not written down when it was started; it is now", run_id)
            except MetaError as error:
                log.warning("run %s is not written down: %s", run_id, error)

    async def _settle(self, run_id: str) -> None:
        note_run(run_id)
        async with self._slots:
            word = await self._temporal.last_word(run_id)
            if isinstance(word, Gone):
                log.info("run %s has ended in Temporal: %s %s", run_id, word.state.value, word.message)
                await self._store.runs.gone(run_id, word.state, word.message, word.at)
                if self._gone is not None:
                    self._gone()
            elif word is not None:
                await self._store.runs.snapshot(word)
