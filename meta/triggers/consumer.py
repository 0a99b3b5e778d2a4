"""Works on the messages of one durable consumer, a bounded number at a time, side by side with other services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from meta.nats import describe
from meta.triggers.flight import Flight
from meta.triggers.handling import Handler
from meta.triggers.jetstream import find_stream
from meta.triggers.pull import Pull
from meta.triggers.streams import Bound, bound

log = logging.getLogger(__name__)

TICK_S = 1.0
GRACE_S = 1.0


class Consumer:
    """Pulls and handles until it is told to stop, or until the stream or the consumer is no longer what it was.

    Args:
        client: connected.
        js: of the client.
        place: the stream.
        name: durable name of the consumer.
        handler: of its messages.
        most: messages in work at a time.
        keep_s: how often the server is told that a message is still worked on.
        on_broken: told when it ends by itself.
    """

    def __init__(
        self, client: Client, js: JetStreamContext, place: Bound, name: str, handler: Handler, *, most: int,
        keep_s: float, on_broken: Callable[[], None],
    ) -> None:  # fmt: skip
        self._client = client
        self._js = js
        self._place = place
        self._name = name
        self._handler = handler
        self._most = most
        self._keep_s = keep_s
        self._on_broken = on_broken
        self._changed = asyncio.Event()
        self._flights: dict[int, tuple[Flight, asyncio.Task[None]]] = {}
        self._strays: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._pull = Pull(client, place.stream, name, self._take, self._changed.set)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def place(self) -> Bound:
        return self._place

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return bool(self._tasks) and self._tasks[0].done()

    async def start(self) -> None:
        """Begin to pull."""
        await self._pull.open()
        self._tasks = [
            asyncio.create_task(self._fetch(), name=f"fetch {self._name}"),
            asyncio.create_task(self._keep(), name=f"keep {self._name}"),
        ]

    async def stop(self) -> None:
        """Pull no more. What is about to start gets a moment; then what has not started is given back at once."""
        self._stopping = True
        for task in self._tasks[:1]:
            task.cancel()
        try:
            await self._pull.close()
        except (NatsError, TimeoutError, OSError) as error:
            log.info("consumer %s: %s", self._name, describe(error))
        working = {task for _, task in self._flights.values()}
        if working and not self._handler.holding:
            await asyncio.wait(working, timeout=GRACE_S)
        for task in (working := {task for _, task in self._flights.values()}):
            task.cancel()
        await asyncio.gather(*working, *self._strays, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, message: Msg) -> None:
        sequence = message.metadata.sequence.stream
        if self._stopping:
            self._spawn_stray(message)
        elif (known := self._flights.get(sequence)) is not None:  # delivered again while it is worked on
            known[0].message = message
        else:
            flight = Flight(message)
            task = asyncio.create_task(self._handler.handle(flight))
            self._flights[sequence] = (flight, task)
            task.add_done_callback(lambda done: self._landed(sequence, done))

    def _spawn_stray(self, message: Msg) -> None:
        task = asyncio.create_task(Flight(message).nak())
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    def _landed(self, sequence: int, task: asyncio.Task[None]) -> None:
        del self._flights[sequence]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("message %d of %s: the handling failed", sequence, self._place.stream, exc_info=error)
        self._changed.set()

    async def _fetch(self) -> None:
        """Ask for messages as there is room, until something is no longer what it was."""
        while not self._pull.broken:
            self._changed.clear()
            try:
                if not await self._ask():
                    break
                async with asyncio.timeout(TICK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            except (NatsError, OSError) as error:  # NATS is away, or not what it should be for a while
                log.info("consumer %s of %s: %s", self._name, self._place.stream, describe(error))
                await asyncio.sleep(TICK_S)
        log.info("consumer %s of %s: %s", self._name, self._place.stream, self._pull.broken or "another stream")
        self._on_broken()

    async def _ask(self) -> bool:
        """Ask for messages where there is room; False when the stream is another one."""
        self._pull.check()
        room = self._most - len(self._flights) - self._pull.outstanding
        if room < max(1, self._most // 2) or self._handler.holding or not self._client.is_connected:
            return True
        if not self._pull.outstanding and not await self._is_same():
            return False
        await self._pull.request(room)
        return True

    async def _is_same(self) -> bool:
        """Whether the stream is the one that we know. Only requests made after its deletion bring another's messages.

        Without this, a stream made again under the name between two requests would give its messages identities of the
        old one's, and those have started their runs.
        """
        found = await find_stream(self._js, self._place.stream)
        return found is not None and bound(found) == self._place

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._keep_s)
            try:
                for flight, _ in list(self._flights.values()):
                    await flight.keep()
            except (NatsError, OSError) as error:  # not connected: the server will deliver again, and we shall know it
                log.info("consumer %s: %s", self._name, describe(error))
