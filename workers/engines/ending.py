"""Ending engine runs: stop, terminate after a grace period, and look until the engine confirms the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from workers.backoff import Backoff
from workflows.errors import EngineError, EngineUnavailable

log = logging.getLogger(__name__)

CONFIRM = 30.0
"""Seconds from the last word to a run until an engine that does not confirm its end is reported; it is asked again."""


class Told(IntEnum):
    """What a run has been told, as the engine shows it."""

    NOTHING = 0
    STOP = 1
    TERMINATE = 2


@dataclass(frozen=True, slots=True)
class Going:
    """A run that has not ended. `id` is what `tell` gets."""

    id: str
    told: Told = Told.NOTHING


async def end_runs(
    look: Callable[[], Awaitable[Sequence[Going] | None]],
    tell: Callable[[str, Told], Awaitable[None]],
    *,
    engine: str,
    grace: float,
    settle_delay: float,
    known: bool,
) -> bool:
    """End all runs of a key, whatever comes in between.

    What a run was told stands at the engine, so that another process goes on where this one was.

    Args:
        look: reads the runs of the key that have not ended; None when there is no run at all.
        tell: stops or terminates a run. An error of it is looked over: it may have ended in between, and the next
            look says so.
        engine: its name, for messages.
        grace: seconds that are left to the runs to stop by themselves; with zero they are terminated at once.
        settle_delay: seconds before a second look, when there is no run and none was known: its submit may be under
            way.
        known: there was a run.

    Returns:
        True if there was a run; it has ended.

    Raises:
        EngineUnavailable: the API does not answer, or runs go on `CONFIRM` seconds after they were told to terminate.
    """
    running = await look()
    if running is None and not known:
        await asyncio.sleep(settle_delay)
        running = await look()
    if running is None:
        return known
    clock = asyncio.get_running_loop().time
    terminate_at = clock() + grace
    backoff = Backoff(first=0.1, limit=2.0)
    problem = ""
    while running:
        late = clock() >= terminate_at
        wanted = Told.TERMINATE if late else Told.STOP
        for run in running:
            if run.told < wanted:
                try:
                    await tell(run.id, wanted)
                except EngineError as error:
                    problem = error.message
                    log.info("engine '%s': cannot %s %s yet: %s", engine, wanted.name.lower(), run.id, problem)
        if clock() > terminate_at + CONFIRM:
            names = ", ".join(run.id for run in running)
            raise EngineUnavailable(
                f"engine '{engine}': told to terminate, but still running after {CONFIRM:.0f} s: {names}"
                + (f" ({problem})" if problem else ""),
                hint="it is asked again; if it stays so, look at the engine's controller",
            )
        delay = backoff.next()
        await asyncio.sleep(delay if late else min(delay, max(terminate_at - clock(), 0.0)))
        running = await look()
    return True
