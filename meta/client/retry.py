"""The SDK's one way to try again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from grpc import aio

from meta.api.errors import DETAILS_KEY, unpack
from workflows.errors import MetaError, ServiceUnavailable

T = TypeVar("T")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 2.0


def error_of(error: aio.AioRpcError) -> MetaError:
    """The exception of our tree that a failed call stands for."""
    trailer = error.trailing_metadata()
    details = trailer.get(DETAILS_KEY) if trailer is not None else None
    return unpack(error.code(), error.details() or "", details if isinstance(details, bytes) else None)


class Patience:
    """How long to go on while the service does not answer, and how long to rest between two tries.

    Args:
        seconds: from the first failure of a row; 0 tries once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """The service has answered."""
        self._since: float | None = None
        self._delay = FIRST_DELAY_S

    async def rest(self, error: ServiceUnavailable) -> None:
        """Wait a little.

        Raises:
            ServiceUnavailable: `error`, when the patience is at its end.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since + self._delay > self._seconds:
            raise error
        await asyncio.sleep(self._delay * random.uniform(0.7, 1.3))
        self._delay = min(self._delay * 2, LONGEST_DELAY_S)


async def persist(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Make a call that may be repeated until it is answered.

    Raises:
        MetaError: what the service answered.
        ServiceUnavailable: no answer in all that time.
    """
    patience = Patience(seconds)
    while True:
        try:
            return await call()
        except aio.AioRpcError as error:
            known = error_of(error)
            if not isinstance(known, ServiceUnavailable):
                raise known from error
        await patience.rest(known)
