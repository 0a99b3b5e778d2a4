"""Events about workflows, for watches: a window of the past and queues of the subscribers.

As an API server does it: a watch from a resource version inside the window misses nothing; one from before the
window is refused as too old, and the client lists again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from meta.sandbox.argo.state.status import JsonObject

WINDOW = 2048
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one workflow.

    Attributes:
        labels: after the change.
        previous: the labels before it; None for a workflow that is new to the reader.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    resource_version: int
    namespace: str
    name: str
    labels: dict[str, str]
    previous: dict[str, str] | None
    body: JsonObject


class TooOldError(Exception):
    """The events from that resource version on are no longer known."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")


class WatchHub:
    """Keeps the latest events and hands new ones to every subscriber."""

    def __init__(self, resource_version: int) -> None:
        """Begin with no past before `resource_version`."""
        self._start = resource_version
        self._window: deque[Event] = deque(maxlen=WINDOW)
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._closed = False

    def publish(self, event: Event) -> None:
        if len(self._window) == WINDOW:
            self._start = self._window[0].resource_version
        self._window.append(event)
        for queue in list(self._queues):
            if queue.qsize() >= BACKLOG:  # a reader that does not read: end its stream, it will list again
                self._queues.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    @contextmanager
    def subscribe(self, since: int | None) -> Generator[asyncio.Queue[Event | None]]:
        """A queue of events after `since` (None: from now on); None in the queue ends the stream.

        Raises:
            TooOldError: `since` lies before the window.
        """
        if since is not None and since < self._start:
            raise TooOldError(since, self._start)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in self._window:
            if since is not None and event.resource_version > since:
                queue.put_nowait(event)
        if self._closed:
            queue.put_nowait(None)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """End every stream, as a server that goes down."""
        self._closed = True
        for queue in self._queues:
            queue.put_nowait(None)
