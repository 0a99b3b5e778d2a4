"""What both engines' waits share: one watcher for all of them, signs of life, patience with an API that is down."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from workers import metrics
from workers.backoff import Backoff
from workers.log_context import apart
from workflows.errors import EngineUnavailable

T = TypeVar("T")

log = logging.getLogger(__name__)

ALIVE = 5.0
"""Seconds between two signs of life of a wait; below any heartbeat time-out."""

PATIENCE = 60.0
"""Seconds that a wait bears an API that is down before it says so and is tried again from outside."""

_LINGER = 30.0


class Watcher(ABC):
    """One task that notices, for all waits of an engine in this process, which runs may have ended.

    It starts when the first wait needs it and stops a while after the last has ended. It only ever says "look": the
    wait itself reads the run, so that a stale or repeated sign does no harm.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.TimerHandle | None = None
        self._known = False

    @abstractmethod
    async def run(self) -> None:
        """Watch until cancelled; call `notify` for what may have ended."""

    def joined(self, run: str, name: str) -> None:  # noqa: B027 -- nothing to do unless a watcher cares
        """Called when somebody begins to wait for a run."""

    def left(self, run: str) -> None:  # noqa: B027 -- likewise
        """Called when nobody waits for a run any more."""

    @property
    def awaited(self) -> list[str]:
        """Ids of the runs that somebody waits for."""
        return list(self._awaited)

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @contextmanager
    def register(self, run: str, name: str = "") -> Generator[asyncio.Event]:
        """Wait for signs of a run; they come once the watcher runs (`start`).

        Args:
            run: the id that the watcher sees: an Argo Workflow's name, a KFP run's id.
            name: what the run is called, as `workflows.naming.engine_run_name` makes it.

        Yields:
            An event that is set when it is time to look at the run.
        """
        self._keep()
        event = asyncio.Event()
        self._awaited.setdefault(run, set()).add(event)
        self.joined(run, name)
        metrics.waits_changed(self.engine, 1)
        try:
            yield event
        finally:
            metrics.waits_changed(self.engine, -1)
            events = self._awaited[run]
            events.discard(event)
            if not events:
                del self._awaited[run]
                self.left(run)
            if not self._awaited and self._task is not None:
                self._stopping = asyncio.get_running_loop().call_later(_LINGER, self._cancel)

    def start(self) -> None:
        """Run, if it does not yet. It gives no sign of what ended before: whoever starts it has looked."""
        self._keep()
        if not self.running:
            self._task = asyncio.create_task(self.run(), name=f"watch-{self.engine}", context=apart(self.engine))
            if not self._known:
                self._known = True
                metrics.watcher_heard(self.engine)
            self._task.add_done_callback(self._ended)

    def heard(self) -> None:
        """The engine has answered; an age that grows says that it does not."""
        metrics.watcher_heard(self.engine)

    def notify(self, run: str) -> None:
        """Tell the waits of a run to look at it; does nothing when nobody waits."""
        for event in self._awaited.get(run, ()):
            event.set()

    async def stop(self) -> None:
        """End the task and see it ended."""
        task = self._task
        self._cancel()
        if task is not None:
            await asyncio.wait({task})

    def _keep(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None

    def _cancel(self) -> None:
        self._keep()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._known:
            self._known = False
            metrics.watcher_idle(self.engine)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A watcher that dies by a bug of ours is said and started again: the waits depend on it."""
        if task.cancelled():
            return
        log.error("the watcher of engine '%s' died; it is started again", self.engine, exc_info=task.exception())
        metrics.watcher_restarted(self.engine, "died")
        if self._awaited:
            asyncio.get_running_loop().call_later(1.0, self.start)


async def wait_until_ended(
    look: Callable[[], Awaitable[T | None]],
    watcher: Watcher,
    registered: AbstractContextManager[asyncio.Event],
    alive: Callable[[], None],
) -> T:
    """Wait for a run: look once, and again whenever the watcher has news of it.

    Args:
        look: reads the run; None while it has not ended.
        watcher: of the run's engine.
        registered: `watcher.register` of the run.
        alive: called now and then.
    """
    with registered as changed:  # before the first look, or an end right after it could be missed
        while True:
            changed.clear()
            if (ended := await until_read(look, alive)) is not None:
                return ended
            watcher.start()
            await with_life(changed.wait(), alive)


async def until_read(read: Callable[[], Awaitable[T | None]], alive: Callable[[], None]) -> T | None:
    """Look at a run, with signs of life meanwhile, and with patience while its API is down.

    Raises:
        EngineUnavailable: the API was down for `PATIENCE` seconds.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff()
    down_since: float | None = None
    while True:
        try:
            return await with_life(read(), alive)
        except EngineUnavailable as error:
            now = loop.time()
            down_since = down_since if down_since is not None else now
            if now - down_since > PATIENCE:
                raise
            log.warning("a wait goes on although its engine does not answer: %s", error.message)
            await with_life(asyncio.sleep(backoff.next(error.retry_after)), alive)


async def with_life(work: Awaitable[T], alive: Callable[[], None]) -> T:
    """Await something that can take long, calling `alive` every `ALIVE` seconds. Cancelling cancels the work."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            alive()
            done, _ = await asyncio.wait({task}, timeout=ALIVE)
            if done:
                return task.result()
    finally:
        if not task.done():
            task.cancel()
