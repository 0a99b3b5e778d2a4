"""Engine runs that came to be beside the adopted one of their key: ended, recorded, and seen ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from workers.backoff import Backoff
from workers.ports import OtherRuns
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef

log = logging.getLogger(__name__)

ENDING = 30.0
"""Seconds that a run beside the adopted one is asked to end; then the step goes on without its confirmation."""


@dataclass(frozen=True, slots=True)
class Other:
    """A run beside the adopted one that has not ended. `told`: it is ending already, asking again is of no use."""

    key: RunKey
    ref: EngineRunRef
    told: bool = False


@dataclass(frozen=True, slots=True)
class Others:
    """Ends what is beside an adopted run.

    Attributes:
        recorder: where each one is written down, before it is ended: none goes uncounted.
        end: tells a run to end; no error when it has ended or is gone.
    """

    recorder: OtherRuns
    end: Callable[[EngineRunRef], Awaitable[None]]

    async def note(self, key: RunKey, stays: EngineRunRef | None, ended: EngineRunRef) -> None:
        """Write down a run that is ended by somebody else's hand, if it is none that was adopted."""
        if stays is not None and stays.uid != ended.uid:
            await self.recorder.other_run_ended(key, stays, ended, datetime.now(UTC))

    async def tell(self, stays: EngineRunRef, others: Sequence[Other]) -> None:
        """Tell them all to end.

        Raises:
            EngineUnavailable: the engine does not answer.
        """
        for other in others:
            if other.told:
                continue
            log.warning(
                "engine '%s': ending %s (%s), a second run of %s; %s stays",
                stays.engine,
                other.ref.name,
                other.ref.uid,
                other.key,
                stays.uid,
            )
            await self.recorder.other_run_ended(other.key, stays, other.ref, datetime.now(UTC))
            await self.end(other.ref)

    async def end_all(self, stays: EngineRunRef, look: Callable[[], Awaitable[Sequence[Other]]]) -> None:
        """Tell them to end until a look shows none that has not.

        Raises:
            EngineUnavailable: the engine does not answer.
        """
        deadline = asyncio.get_running_loop().time() + ENDING
        backoff = Backoff(first=0.1, limit=2.0)
        while others := await look():
            if asyncio.get_running_loop().time() > deadline:
                uids = ", ".join(other.ref.uid for other in others)
                log.warning("engine '%s': told to end, but still running: %s", stays.engine, uids)
                return
            await self.tell(stays, others)
            await asyncio.sleep(backoff.next())
