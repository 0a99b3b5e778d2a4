"""One list a tick for all waits on a KFP server."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from workers.backoff import Backoff
from workers.engines.json_view import moment, text
from workers.engines.kfp import outcome
from workers.engines.kfp.client import KfpClient, since
from workers.engines.waiting import Watcher
from workers.http import ApiRejected
from workers.settings import KfpSettings
from workflows.errors import EngineError

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=60)
"""A run's row shows its end only when the persistence agent has reported it, so later ends can show earlier."""

_SKEW = timedelta(minutes=10)
_FALLBACK_PAGES = 10
_BAD_REQUEST = 400


class KfpWatcher(Watcher):
    """Asks for what finished since a cursor; the cost goes by what finishes, not by how many wait.

    Every `resync` seconds each wait looks at its own run besides, which finds what the list has missed. A server that
    refuses the filter on `finished_at` is asked for its newest runs instead.
    """

    def __init__(self, engine: str, client: KfpClient, settings: KfpSettings) -> None:
        super().__init__(engine)
        self._client = client
        self._settings = settings
        self._newest: datetime | None = None
        self._filters = True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=self._settings.poll, limit=10.0)
        resynced = loop.time()
        while True:
            await asyncio.sleep(self._settings.poll)
            if loop.time() - resynced >= self._settings.resync:
                resynced = loop.time()
                for run in self.awaited:
                    self.notify(run)
            try:
                await self._tick()
                backoff.reset()
            except EngineError as error:
                log.warning("engine '%s': cannot list runs: %s", self.engine, error.message)
                await asyncio.sleep(backoff.next())

    async def _tick(self) -> None:
        awaited = set(self.awaited)
        if not awaited:
            return
        if self._filters:
            try:
                await self._finished(awaited)
            except ApiRejected as error:
                if error.status != _BAD_REQUEST:
                    raise
                log.warning(
                    "engine '%s' does not filter by finished_at, its newest runs are listed instead: %s",
                    self.engine,
                    error.answer,
                )
                self._filters = False
        if not self._filters:
            await self._newest_runs(awaited)

    async def _finished(self, awaited: set[str]) -> None:
        cursor = self._newest - OVERLAP if self._newest is not None else datetime.now(UTC) - _SKEW
        wanted = since("finished_at", cursor.strftime("%Y-%m-%dT%H:%M:%SZ"))
        async for run in self._client.runs(filter=wanted, sort_by="finished_at asc"):
            at = moment(run.get("finished_at"))
            if at is not None and (self._newest is None or at > self._newest):
                self._newest = at
            if text(run, "run_id") in awaited and outcome.has_ended(run):
                self.notify(text(run, "run_id"))

    async def _newest_runs(self, awaited: set[str]) -> None:
        async for run in self._client.runs(sort_by="created_at desc", pages=_FALLBACK_PAGES):
            run_id = text(run, "run_id")
            if run_id in awaited:
                awaited.discard(run_id)
                if outcome.has_ended(run):
                    self.notify(run_id)
            if not awaited:
                return
