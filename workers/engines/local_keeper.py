"""A keeper for one process without a store: engines that are built for a look, and tests of one worker."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from workers.ports import Lease
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef

K = TypeVar("K")
V = TypeVar("V")

log = logging.getLogger(__name__)

_REMEMBERED = 10_000


class LocalKeeper:
    """Implements `workers.ports.Keeper` for tries of this process alone.

    It cannot know what other processes did before, so it says of every key that it may have been tried.
    """

    def __init__(self) -> None:
        self._leases: OrderedDict[RunKey, tuple[str, str, float]] = OrderedDict()
        self._ends: OrderedDict[tuple[RunKey, str], str] = OrderedDict()

    async def take_lease(self, key: RunKey, token: str, holder: str, seconds: float) -> Lease:
        now = time.monotonic()
        held = self._leases.get(key)
        if held is None or held[0] == token or held[2] <= now:
            held = self._leases[key] = (token, holder, now + seconds)
            _forget(self._leases)
        left = held[2] - now
        return Lease(held[0], held[1], datetime.now(UTC) + timedelta(seconds=left), left, tried=True)

    async def renew_lease(self, key: RunKey, token: str, seconds: float) -> bool:
        held = self._leases.get(key)
        if held is None or held[0] != token:
            return False
        self._leases[key] = (token, held[1], time.monotonic() + seconds)
        return True

    async def release_lease(self, key: RunKey, token: str) -> None:
        held = self._leases.get(key)
        if held is not None and held[0] == token:
            del self._leases[key]

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        first = self._ends.setdefault((key, uid), end)
        _forget(self._ends)
        return first

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        log.info("a second run of %s was ended: %s; %s stays", key, ended.uid, stays.uid)


def _forget(remembered: OrderedDict[K, V]) -> None:
    if len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
