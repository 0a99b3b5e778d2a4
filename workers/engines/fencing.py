"""One try at a time for each run key: the lease around a submit.

A try is one execution of the `submit` or `resume` activity. Temporal begins the next one when the last has failed or
has run out of time, so two overlap only when a worker went on after its time: a process that was stopped and woke up,
an event loop that hung. The lease keeps such a straggler from creating anything. What it cannot call back is a request
that is on its way already; for that there are the settle delay, and the looks at the end of a wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from workers.backoff import Backoff
from workers.engines.times import PATIENCE, Times
from workers.http import ApiUnavailable
from workers.ports import Keeper
from workflows.errors import EngineRejected, EngineUnavailable, ServiceUnavailable
from workflows.naming import RunKey

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Try:
    """A try that holds the lease on its key.

    Attributes:
        tried: an earlier try may have come as far as the create.
    """

    tried: bool
    _fence: Fence
    _key: RunKey
    _token: str
    _in_doubt: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether a create of this try may be on its way."""
        return self._in_doubt

    @asynccontextmanager
    async def preparing(self) -> AsyncGenerator[None]:
        """What comes before the create, within its time.

        Raises:
            EngineUnavailable: it took longer.
        """
        limit = self._fence.times.prepare
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise EngineUnavailable(
                f"engine '{self._fence.engine}': {self._key} was not ready to be created after {limit:.0f} s",
                hint="the engine answers slowly; it is tried again",
            ) from error

    async def check(self) -> None:
        """Make sure that the lease is still ours, and hold it for as long as a create and its doubt can last.

        Raises:
            EngineUnavailable: another try has taken it.
        """
        if not await self._fence.keeper.renew_lease(self._key, self._token, self._fence.times.create):
            raise EngineUnavailable(
                f"engine '{self._fence.engine}': another try of {self._key} has taken over; this one creates nothing",
                hint="this worker was stopped, or hung, for longer than a submit may take",
            )

    @asynccontextmanager
    async def creating(self) -> AsyncGenerator[float]:
        """Around the one request that must not overlap with another try's, and the looks after it.

        When it is cut short the lease is kept until it expires: the request may be on its way.

        Yields:
            Until when the request may be sent, by `time.monotonic`; a request that has waited for a free thread
            beyond that must not go out.

        Raises:
            EngineUnavailable: another try has taken the lease.
        """
        await self.check()
        self._in_doubt = True
        try:
            yield time.monotonic() + self._fence.times.call
        except EngineRejected:
            self.settled()
            raise
        self.settled()

    def settled(self) -> None:
        """The create has been answered, or has had the time to be carried out: nothing is on its way any more."""
        self._in_doubt = False

    async def after_doubt(self, look: Callable[[], Awaitable[T | None]], problem: ApiUnavailable) -> T:
        """Look again after an answer that leaves open whether a run was created.

        At once, and once more after the settle delay, when the engine must have given up on the request. A first look
        that fails says nothing, and is no reason to leave the doubt to the next try.

        Args:
            look: for the run.
            problem: the answer.

        Raises:
            ApiUnavailable: `problem`, when there is no run.
        """
        if problem.sent:
            try:
                if (found := await look()) is not None:
                    return found
            except EngineUnavailable as error:
                log.info("engine '%s': %s", self._fence.engine, error.message)
            await asyncio.sleep(self._fence.times.settle)
        self.settled()
        if problem.sent and (found := await look()) is not None:
            return found
        raise problem


@dataclass(frozen=True, slots=True)
class Fence:
    """Keeps the tries of one engine's run keys apart.

    Attributes:
        engine: name in the configuration.
        keeper: where leases are, for all worker processes.
        times: of a submit.
    """

    engine: str
    keeper: Keeper
    times: Times

    @asynccontextmanager
    async def hold(self, key: RunKey) -> AsyncGenerator[Try]:
        """Hold the lease on a key.

        Raises:
            EngineUnavailable: another try holds it, and `PATIENCE` did not help; says who, and until when.
        """
        token = uuid.uuid4().hex
        this = Try(await self._take(key, token), self, key, token)
        try:
            yield this
        finally:
            if not this.in_doubt:
                await self._release(key, token)

    async def _take(self, key: RunKey, token: str) -> bool:
        holder = f"{socket.gethostname()}, process {os.getpid()}"
        deadline = time.monotonic() + PATIENCE
        backoff = Backoff(first=0.05, limit=1.0)
        while True:
            lease = await self.keeper.take_lease(key, token, holder, self.times.whole)
            if lease.token == token:
                return lease.tried
            delay = backoff.next()
            if time.monotonic() + delay > deadline:
                raise EngineUnavailable(
                    f"engine '{self.engine}': {key} is being submitted by another try ({lease.holder}), which has "
                    f"time until {lease.expires_at:%H:%M:%S} UTC, {lease.seconds_left:.0f} s from now",
                    hint="nothing is created meanwhile; it is tried again",
                )
            await asyncio.sleep(delay)

    async def _release(self, key: RunKey, token: str) -> None:
        try:
            await self.keeper.release_lease(key, token)
        except ServiceUnavailable as error:  # it expires by itself
            log.warning("the lease on %s could not be let go: %s", key, error.message)
