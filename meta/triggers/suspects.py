"""Messages of which services may have died: each is handled alone once, so that it takes no other with it.

Deliveries alone do not tell which message it is: those that are in work beside it are delivered again at each death
too. So one that was delivered too often without a word has nothing of its source beside it when it is handled, after a
mark in the store. Who finds that mark knows that a service died meanwhile. The mark is taken off when the service stops
in good order, when a server that is needed turns out to be away, and when the message only waits.

Only what comes after the mark is seen: of a message that kills while it is decoded nothing is written down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from meta.api.starter import Started
from meta.store.triggers import TriggerEvents
from meta.triggers.beginning import Begin
from meta.triggers.event import Event
from meta.triggers.intake import record_of
from workflows.errors import MetaError, ServiceUnavailable

log = logging.getLogger(__name__)

DEADLY_S = 10.0
"""A message that is in work for so long only waits, as for its trigger's limits: what ends the service then is another
thing."""


class Turns:
    """Lets messages into work side by side, or one alone, in the order in which they ask."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def beside_others(self) -> AsyncGenerator[None]:
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Wait until nobody is inside; meanwhile, and until it is over, nobody else gets in."""
        async with self._door:
            await self._empty.wait()
            yield


class Suspects:
    """Handles messages that are alone in work, under a mark.

    Args:
        rows: where the marks are.
        begin: makes a run of a message.
    """

    def __init__(self, rows: TriggerEvents, begin: Begin) -> None:
        self._rows = rows
        self._begin = begin

    async def mark(self, event: Event, workflow: str, trigger: str) -> None:
        """Write down that a message is about to be handled alone.

        Raises:
            MetaError: it is written down already: a service has died of it.
            ServiceUnavailable: the store does not answer.
        """
        error = deadly()
        if not await self._rows.mark(record_of(event, workflow, trigger, error=error)):
            raise error

    async def begin(self, event: Event, workflow: str) -> Started:
        """Make a run of a marked message; see `Begin`."""
        harmless = asyncio.create_task(self._take_off_later(event, workflow))
        try:
            return await self._begin(event)
        except (ServiceUnavailable, asyncio.CancelledError):
            await self._take_off(event, workflow)
            raise
        finally:
            harmless.cancel()
            await asyncio.gather(harmless, return_exceptions=True)

    async def _take_off_later(self, event: Event, workflow: str) -> None:
        await asyncio.sleep(DEADLY_S)
        await self._take_off(event, workflow)

    async def _take_off(self, event: Event, workflow: str) -> None:
        try:
            await self._rows.unmark(workflow, event.identity, deadly().message)
        except MetaError as error:
            log.warning("message %s keeps the mark that it is handled alone: %s", event.identity, error)


def deadly() -> MetaError:
    """Why a message is put aside that a service did not survive alone; its text is the mark."""
    return MetaError(
        "it was delivered again and again, at last with no other in work, and no service has said how it ended",
        hint="services may have died of it: look at their logs before you replay it",
    )
