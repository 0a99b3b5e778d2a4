"""A look beside each adopted run when a create that was on its way at its adoption must have landed.

Many runs share one list, so the requests go by hundreds of runs, not by runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager

from workers.engines.kfp.adopting import KfpAdopter
from workers.engines.kfp.client import PAGE
from workers.log_context import apart
from workflows.errors import EngineError
from workflows.outcome import EngineRunRef

log = logging.getLogger(__name__)

_TOGETHER = 1.0
"""Seconds for which a look waits for others, when the settle delay is no shorter."""


class LateLooks:
    """Looks once beside every registered run, a settle delay after its registration.

    A look that the engine does not answer is left out: there is another at the end of each wait.

    Args:
        adopter: finds and ends what is beside a run.
        settle_delay: seconds.
    """

    def __init__(self, adopter: KfpAdopter, settle_delay: float) -> None:
        self._adopter = adopter
        self._settle_delay = settle_delay
        self._due: dict[EngineRunRef, float] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def register(self, ref: EngineRunRef) -> Generator[None]:
        """Have it looked beside a run, unless the context is left before."""
        self._due[ref] = asyncio.get_running_loop().time() + self._settle_delay
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="late-looks", context=apart())
        try:
            yield
        finally:
            self._due.pop(ref, None)

    async def stop(self) -> None:
        """End the task and see it ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while self._due:
            # Registered in the order in which they are due; the first one waits for those that come close behind.
            first = next(iter(self._due.values()))
            await asyncio.sleep(max(first - now(), 0.0) + min(_TOGETHER, self._settle_delay))
            due = [ref for ref, at in self._due.items() if at <= now()]
            for ref in due:
                del self._due[ref]
            for start in range(0, len(due), PAGE):
                await self._look(due[start : start + PAGE])

    async def _look(self, refs: list[EngineRunRef]) -> None:
        try:
            for ref in await self._adopter.with_others(refs):
                await self._adopter.end_others(ref)
        except EngineError as error:
            log.info("it is looked beside %d runs at the end of their waits: %s", len(refs), error.message)
