"""The core subscriber: takes requests as they are published, holds those that must wait, and answers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from nats.aio.msg import Msg

from meta.bridge.desk import Answer, Desk, Mail, Tell
from meta.bridge.request import Request
from meta.config import BridgeConfig
from workflows.errors import MetaError

log = logging.getLogger(__name__)

MAX_HELD_BYTES = 64 << 20
AT_ONCE = 16  # requests that are with Temporal and the store at a time
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # the last one stays
TRIES = 0.6  # of the grace: until when a try begins; the rest is for the try, and for delays on the way here

Publish = Callable[[Answer, str], Awaitable[None]]
"""Publishes an answer: on its subject, and on the reply subject where there is one."""


class CoreSubscriber:
    """Handles requests of a core subscription, each in a task of its own.

    A request that Temporal or the store cannot take now is tried again. Where a stream keeps it, for as long as it is
    ours (see `BridgeConfig.grace`): then whoever reads the stream takes it up. Where none does, until it is too old.

    Args:
        config: bounds and times.
        desk: decides.
        tell: answers.
        kept: whether a stream keeps what is published now.
    """

    def __init__(self, config: BridgeConfig, desk: Desk, tell: Publish, kept: Callable[[], bool]) -> None:
        self._config = config
        self._desk = desk
        self._tell = tell
        self._kept = kept
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._in_hand: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def held(self) -> int:
        """Requests in hand."""
        return len(self._tasks)

    def has(self, request: Request) -> bool:
        """Whether a request of this id is in hand here."""
        return bool(request.request_id) and self._in_hand[request.request_id] > 0

    async def receive(self, message: Msg) -> None:
        """Take a message in; returns at once."""
        request = self._desk.read(message.data)
        if self.held >= self._config.max_held or self._bytes + len(message.data) > MAX_HELD_BYTES:
            await self._turn_away(request, message)
            return
        self._bytes += len(message.data)
        self._in_hand[request.request_id] += 1
        task = asyncio.create_task(self._serve(request, message))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._let_go(done, request, len(message.data)))

    async def finish(self, timeout_s: float) -> None:
        """Wait for what is in hand; what must wait longer is left on the stream, or told that nobody has it."""
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _let_go(self, task: asyncio.Task[None], request: Request, size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size
        self._in_hand -= Counter([request.request_id])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("request %r failed", request.request_id, exc_info=error)

    async def _serve(self, request: Request, message: Msg) -> None:
        mail = Mail(message.subject, message.data, dict(message.headers or {}))

        async def tell(answer: Answer) -> None:
            await self._tell(answer, message.reply)

        turn = self._turns.setdefault(request.request_id, asyncio.Lock())
        try:
            async with turn:
                done = await self._answer(request, mail, tell)
        except asyncio.CancelledError:
            if not self._kept():
                await tell(self._desk.error(request, "the service stops; send the request again"))
            raise
        except Exception as error:  # a fault of ours with one request: who made it is told
            log.exception("request %r on %s failed", request.request_id, message.subject)
            await tell(self._desk.error(request, f"internal error: {type(error).__name__}"))
        else:
            if not done and message.reply:
                await tell(self._desk.waiting(request))

    async def _answer(self, request: Request, mail: Mail, tell: Tell) -> bool:
        """See to it that a request is answered; False when it is left on the stream."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tries = 0
        why = "too many are before it"
        while True:
            kept = self._kept()
            last_try = began + (self._config.grace * TRIES if kept else self._config.max_age)
            try:
                async with asyncio.timeout_at(last_try if kept else None):
                    await self._slots.acquire()
            except TimeoutError:
                pass
            else:
                try:  # a try that has begun is not cut off: it may have started the run, and must say so
                    await self._desk.answer(request, mail, tell)
                    return True
                except MetaError as error:
                    if not error.retryable:
                        raise
                    why = error.message
                finally:
                    self._slots.release()
            pause = BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]
            tries += 1
            if loop.time() + pause < last_try:
                log.warning("request %r is tried again in %s s: %s", request.request_id, pause, why)
                await asyncio.sleep(pause)
            elif self._kept():
                log.warning("request %r is left on the stream: %s", request.request_id, why)
                return False
            else:
                await tell(self._desk.error(request, f"given up: {why}"))
                return True

    async def _turn_away(self, request: Request, message: Msg) -> None:
        if not self._kept():
            text = f"busy: {self.held} requests wait; send the request again later"
            log.warning("request %r: %s", request.request_id, text)
            await self._tell(self._desk.error(request, text), message.reply)
        elif message.reply:
            await self._tell(self._desk.waiting(request), message.reply)
