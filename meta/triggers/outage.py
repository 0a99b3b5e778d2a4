"""Waits out outages: of Temporal, of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from workflows.errors import ServiceUnavailable

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0

_T = TypeVar("_T")


class Outage:
    """What several do who need the same servers: while those are away, one of them looks and the others wait for it.

    Args:
        who: waits, for the log.

    Attributes:
        holding: how many an outage keeps waiting.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._line = asyncio.Lock()
        self._ended = 0
        self.holding = 0

    async def through(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Do something until no server that it needs is away, however long that takes.

        Raises:
            Exception: what the call raises, but for ServiceUnavailable.
        """
        while True:
            ended = self._ended
            try:
                return await call()
            except ServiceUnavailable as error:
                if not self.holding:
                    log.warning("%s: waiting for what is away: %s", self._who, error)
            self.holding += 1
            try:
                async with self._line:
                    pause = FIRST_PAUSE_S
                    while self._ended == ended:  # nobody has got through since
                        await asyncio.sleep(pause)
                        try:
                            result = await call()
                        except ServiceUnavailable:
                            pause = min(pause * 2, LONGEST_PAUSE_S)
                        except Exception:
                            self._ended += 1  # it came far enough to fail for another reason
                            raise
                        else:
                            self._ended += 1
                            return result
            finally:
                self.holding -= 1
