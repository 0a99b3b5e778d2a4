"""One watch stream for all waits on an Argo server."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from workers import metrics
from workers.backoff import Backoff
from workers.engines.argo import outcome
from workers.engines.argo.client import ArgoClient, sse_data
from workers.engines.json_view import child, text
from workers.engines.waiting import Watcher
from workers.http import ApiRejected, ApiUnavailable, server_message
from workers.settings import ArgoSettings
from workflows.errors import EngineError, EngineUnavailable
from workflows.values import JsonObject

T = TypeVar("T")

log = logging.getLogger(__name__)

_HEALTHY = 5.0
_GOODBYE = 2.0


class ArgoWatcher(Watcher):
    """Follows the changes to our workflows; lists them anew on every break and now and then besides.

    The server closes watches regularly, and says "too old resource version" as 400, 410 or as an error inside the
    stream: all of these are breaks like any other.
    """

    def __init__(self, engine: str, client: ArgoClient, settings: ArgoSettings) -> None:
        super().__init__(engine)
        self._client = client
        self._settings = settings

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=0.2, limit=10.0)
        while True:
            version = await self._relist()
            opened = loop.time()
            stream = asyncio.create_task(self._follow(version), name=f"watch-stream-{self.engine}")
            try:
                while True:
                    done, _ = await asyncio.wait({stream}, timeout=self._settings.resync)
                    if done:
                        break
                    await self._relist()
            finally:
                stream.cancel()
                await asyncio.wait({stream})
            if loop.time() - opened > _HEALTHY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _relist(self) -> str:
        """Look at all our workflows at once; returns the version to watch from, empty for "from now, all first"."""
        awaited = self.awaited
        try:
            listed, version = await self._client.list_ours()
        except EngineError as error:
            log.warning("engine '%s': cannot list workflows: %s", self.engine, error.message)
            if isinstance(error, ApiRejected) or (
                isinstance(error, ApiUnavailable) and error.sent and not error.status
            ):
                # Forbidden, or too slow (it merges the whole archive) while the rest of the API may answer: each wait
                # looks for itself. Not so when the API is down, which reading every run would only burden.
                for name in awaited:
                    self.notify(name)
            return ""
        self.heard()
        phases = {text(item, "metadata", "name"): outcome.phase(item) for item in listed}
        for name in awaited:
            # Not listed: deleted, or the list lags behind; the wait finds out by reading it.
            if phases.get(name, "") in outcome.ENDED or name not in phases:
                self.notify(name)
        return version

    async def _follow(self, version: str) -> None:
        """Read the stream until it breaks."""
        reader = _Reader(self._client, version, self)
        reader.start()
        try:
            problem = await asyncio.shield(reader.ended)
        except asyncio.CancelledError:
            reader.stop()
            await asyncio.wait({reader.ended}, timeout=_GOODBYE)
            raise
        metrics.watcher_restarted(self.engine, "broken")
        if problem:
            log.info("engine '%s': the watch broke and is opened again: %s", self.engine, problem)

    def handle(self, event: JsonObject) -> None:
        """Take one event of the stream."""
        self.heard()
        workflow = child(event, "result", "object")
        if text(event, "result", "type") == "DELETED" or outcome.has_ended(workflow):
            self.notify(text(workflow, "metadata", "name"))


class _Reader:
    """Reads the blocking stream in a thread and hands its events to the event loop."""

    def __init__(self, client: ArgoClient, version: str, watcher: ArgoWatcher) -> None:
        self._client = client
        self._version = version
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._response: BaseHTTPResponse | None = None
        self.ended: asyncio.Future[str] = self._loop.create_future()

    def start(self) -> None:
        threading.Thread(target=self._read, name=f"watch-{self._watcher.engine}", daemon=True).start()

    def stop(self) -> None:
        """Wake the thread out of its read."""
        self._stopped.set()
        response = self._response
        if response is not None:
            try:
                response.shutdown()
            except (ValueError, RuntimeError, OSError) as error:
                log.debug("the watch was closed already: %s", error)

    def _read(self) -> None:
        problem = "closed by the server"
        try:
            self._response = self._client.open_watch(self._version)
            for data in sse_data(self._response):
                if self._stopped.is_set():
                    break
                event = _parse(data)
                if "error" in event:
                    problem = server_message(data)
                    break
                self._call(self._watcher.handle, event)
        except (HTTPError, EngineError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        finally:
            if self._response is not None:
                self._response.close()
            self._call(self._finish, problem)

    def _finish(self, problem: str) -> None:
        if not self.ended.done():
            self.ended.set_result(problem)

    def _call(self, function: Callable[[T], None], value: T) -> None:
        try:
            self._loop.call_soon_threadsafe(function, value)
        except RuntimeError:
            log.debug("the event loop is closed; the watch of engine '%s' ends", self._watcher.engine)
            self._stopped.set()


def _parse(data: str) -> JsonObject:
    try:
        value: object = json.loads(data)
    except ValueError as error:
        raise EngineUnavailable(f"the watch sent something that is not JSON: {data[:200]!r}") from error
    return cast("JsonObject", value) if isinstance(value, dict) else {}
