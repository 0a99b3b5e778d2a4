"""Events about workflows, for watches: one window of the past that all subscribers read at their own pace.

As an API server does it: a watch from a resource version inside the window misses nothing; one from before the
window is refused as too old, and the client lists again. What a watch costs in memory does not depend on how slowly
it is read: a reader that the window has left behind is dropped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal, Self

WINDOW = 8192
WINDOW_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 256 * 1024
_DELAY_PER_SUBSCRIPTION_S = 0.0005
_LONGEST_DELAY_S = 0.1


@dataclass(slots=True)
class Event:
    """One change of one workflow.

    Attributes:
        labels: after the change.
        previous: the labels before it; None for a workflow that is new to the reader.
        body: the object's JSON, made once for all readers.
        encoded: what readers have made of it that others may want too, by how they made it.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    resource_version: int
    namespace: str
    name: str
    labels: dict[str, str]
    previous: dict[str, str] | None
    body: bytes
    encoded: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])


class TooOldError(Exception):
    """The events from that resource version on are no longer known."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")


class BehindError(Exception):
    """A reader was so slow that the window has left it behind; it will list again."""


class WatchHub:
    """Keeps the latest events and wakes the subscribers for new ones."""

    def __init__(self, resource_version: int) -> None:
        """Begin with no past before `resource_version`."""
        self._start = resource_version
        self._window: dict[int, Event] = {}  # by place: a number that rises by one with each event
        self._first = self._end = 0
        self._size = 0
        self._subscriptions = 0
        self._news: asyncio.Future[None] | None = None  # somebody waits for it
        self._waking = False
        self.closed = False

    def publish(self, event: Event) -> None:
        self._window[self._end] = event
        self._end += 1
        self._size += len(event.body)
        while self._end - self._first > WINDOW or (self._size > WINDOW_BYTES and self._end - self._first > 1):
            gone = self._window.pop(self._first)
            self._first += 1
            self._size -= len(gone.body)
            self._start = gone.resource_version
        if self._news is not None and not self._waking:
            # A turn of many subscribers is not cheap: the more there are, the more events share one
            self._waking = True
            delay = min(_LONGEST_DELAY_S, _DELAY_PER_SUBSCRIPTION_S * self._subscriptions)
            asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._waking = False
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    async def wait(self) -> None:
        """Until there is an event, or the end."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._news)

    def after(self, place: int) -> tuple[list[Event], int]:
        """A batch of events from a place on, and the place behind them.

        Raises:
            BehindError: the window begins after it.
        """
        if place < self._first:
            raise BehindError
        found: list[Event] = []
        size = 0
        while place < self._end and size < BATCH_BYTES:
            event = self._window[place]
            found.append(event)
            size += len(event.body)
            place += 1
        return found, place

    def subscribe(self, since: int | None) -> Subscription:
        """The events after `since` (None: from now on); to be entered before it is read.

        Raises:
            TooOldError: `since` lies before the window.
        """
        if since is not None and since < self._start:
            raise TooOldError(since, self._start)
        return Subscription(self, self._end if since is None else self._first, since or 0)

    def count(self, change: int) -> None:
        """A subscription has come or gone."""
        self._subscriptions += change

    def close(self) -> None:
        """End every stream, as a server that goes down."""
        self.closed = True
        self._wake()


class Subscription:
    """One reader's place in the window."""

    def __init__(self, hub: WatchHub, place: int, since: int) -> None:
        self._hub, self._place = hub, place
        self.resource_version = since

    def __enter__(self) -> Self:
        self._hub.count(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.count(-1)

    async def read(self) -> list[Event]:
        """The next events, at least one; none when the hub is closed.

        Raises:
            BehindError: the window has gone on without this reader.
        """
        while True:
            events, self._place = self._hub.after(self._place)
            found = [event for event in events if event.resource_version > self.resource_version]
            if found:
                self.resource_version = found[-1].resource_version
            if found or (self._hub.closed and not events):
                return found
            if not events:
                await self._hub.wait()
