"""One list a tick for all waits on a KFP server."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta

from workers.backoff import Backoff
from workers.engines.json_view import moment, text
from workers.engines.kfp import outcome
from workers.engines.kfp.client import PAGE, KfpClient, one_of, since
from workers.engines.kfp.pace import Pace, kind_of
from workers.engines.waiting import Watcher
from workers.http import ApiRejected
from workers.settings import KfpSettings
from workflows.errors import EngineError, EngineUnavailable

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=60)
"""A run's row shows its end only when the persistence agent has reported it, so later ends can show earlier."""

NEAR_OVERLAP = timedelta(seconds=5)
"""Most ticks look back no further: what has ended is listed anew by each tick that reaches back to it."""

FAR_EVERY = 10
"""Times `poll`: seconds between two ticks that look back by the whole of `OVERLAP`."""

_SKEW = timedelta(minutes=10)
_FALLBACK_PAGES = 10
_BAD_REQUEST = 400


class KfpWatcher(Watcher):
    """Asks for what finished since a cursor; the cost goes by what finishes, not by how many wait.

    Every `resync` seconds the awaited runs are listed by their ids, a hundred a request, which finds what the lists of
    what finished have missed; only those that have ended or are not listed are read. A server that refuses these
    filters is asked for its newest runs instead.
    """

    def __init__(self, engine: str, client: KfpClient, settings: KfpSettings) -> None:
        super().__init__(engine)
        self._client = client
        self._settings = settings
        self._pace = Pace(settings.poll, settings.poll_slowest)
        self._submitted = asyncio.Event()
        self._newest: datetime | None = None
        self._filters = True

    def joined(self, run: str, name: str) -> None:
        self._pace.started(run, kind_of(name))
        self._submitted.set()

    def left(self, run: str) -> None:
        self._pace.left(run)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=self._settings.poll, limit=10.0)
        self._newest = None  # whoever waits now has looked, and what ended long before would be listed for nothing
        resynced, looked_back = loop.time(), float("-inf")
        while True:
            await self._rest()
            now = loop.time()
            far = now - looked_back >= FAR_EVERY * self._settings.poll
            try:
                if now - resynced >= self._settings.resync:
                    resynced = now
                    await self.resync()
                await self._tick(OVERLAP if far else NEAR_OVERLAP)
                self.heard()
                looked_back = now if far else looked_back
                backoff.reset()
            except EngineError as error:
                log.warning("engine '%s': cannot list runs: %s", self.engine, error.message)
                asked = error.retry_after if isinstance(error, EngineUnavailable) else None
                await asyncio.sleep(backoff.next(asked))

    async def _rest(self) -> None:
        """Sleep until the next tick; a run that is waited for anew may make it an earlier one."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        apart = random.uniform(0.9, 1.1)  # several workers do not ask in step
        while (left := began + apart * self._pace.interval() - loop.time()) > 0:
            self._submitted.clear()
            try:
                await asyncio.wait_for(self._submitted.wait(), left)
            except TimeoutError:
                return

    async def _tick(self, overlap: timedelta) -> None:
        awaited = set(self.awaited)
        if not awaited:
            return
        if self._filters:
            try:
                await self._finished(awaited, overlap)
            except ApiRejected as error:
                self._without_filters(error)
        if not self._filters:
            await self._newest_runs(awaited)

    def _without_filters(self, error: ApiRejected) -> None:
        if error.status != _BAD_REQUEST:
            raise error
        log.warning(
            "engine '%s' does not take a filter, its newest runs are listed instead: %s", self.engine, error.answer
        )
        self._filters = False

    async def _finished(self, awaited: set[str], overlap: timedelta) -> None:
        cursor = self._newest - overlap if self._newest is not None else datetime.now(UTC) - _SKEW
        wanted = since("finished_at", cursor.strftime("%Y-%m-%dT%H:%M:%SZ"))
        async for run in self._client.runs(filter=wanted, sort_by="finished_at asc"):
            at = moment(run.get("finished_at"))
            if at is not None and (self._newest is None or at > self._newest):
                self._newest = at
            if text(run, "run_id") in awaited and outcome.has_ended(run):
                self._found(text(run, "run_id"))

    async def resync(self) -> None:
        """List what is awaited, by id; read what has ended, and what is not listed: it is gone, or the list lags."""
        awaited = self.awaited
        if not self._filters:
            await self._newest_runs(set(awaited), missing=True)
            return
        for at in range(0, len(awaited), PAGE):
            ids = awaited[at : at + PAGE]
            running: set[str] = set()
            try:
                async for run in self._client.runs(filter=one_of("run_id", ids)):
                    if not outcome.has_ended(run):
                        running.add(text(run, "run_id"))
            except ApiRejected as error:
                self._without_filters(error)
                await self._newest_runs(set(awaited), missing=True)
                return
            for run_id in ids:
                if run_id not in running:
                    self.notify(run_id)

    async def _newest_runs(self, awaited: set[str], *, missing: bool = False) -> None:
        """List the newest runs until all that are awaited have shown; `missing`: read those that have not."""
        async for run in self._client.runs(sort_by="created_at desc", pages=_FALLBACK_PAGES):
            run_id = text(run, "run_id")
            if run_id in awaited:
                awaited.discard(run_id)
                if outcome.has_ended(run):
                    self._found(run_id)
            if not awaited:
                return
        for run_id in awaited if missing else ():
            self.notify(run_id)

    def _found(self, run_id: str) -> None:
        self._pace.ended(run_id)
        self.notify(run_id)
