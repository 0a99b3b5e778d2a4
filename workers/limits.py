"""The limits of an engine, kept by all workers together: `max_concurrent_runs` and `submit_rate` in its settings.

A slot in the store stands for an engine run that is under way. It is taken before the run is created, and given back
when the run has ended, was ended, or was refused; slots of meta-runs that have ended are swept when one is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from workers.ports import Slots
from workers.settings import EngineSettings
from workflows.errors import EngineFull, MetaError, ServiceUnavailable
from workflows.naming import RunKey

T = TypeVar("T")

log = logging.getLogger(__name__)

ASK_AGAIN, LONGEST = 1.0, 10.0
"""Seconds until a submit that found no slot looks again, jittered: at first, and after many tries, so that hundreds
that wait do not keep the store busy. Whoever comes first after one is free has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine bears; None: no limit.

    Attributes:
        max_concurrent_runs: runs under way at once.
        submit_rate: runs per second.
    """

    max_concurrent_runs: int | None = None
    submit_rate: float | None = None


def limits_of(settings: Mapping[str, EngineSettings]) -> dict[str, Limits]:
    """Limits of the engines that have any."""
    return {
        name: Limits(each.max_concurrent_runs, each.submit_rate)
        for name, each in settings.items()
        if each.max_concurrent_runs is not None or each.submit_rate is not None
    }


class SubmitLimits:
    """Holds submits back until the engine may have another run.

    Args:
        limits: of the engines that have any.
        slots: where they are counted; None where there are no limits.
    """

    def __init__(self, limits: Mapping[str, Limits] | None = None, slots: Slots | None = None) -> None:
        self._limits = dict(limits or {})
        self._slots = slots

    async def take(self, engine: str, key: RunKey, tries: int = 1) -> None:
        """Take the slot of a key; one that it has is its own.

        Args:
            engine: the engine's name.
            key: of the attempt.
            tries: how often it was tried, with this time.

        Raises:
            EngineFull: not yet. The try costs no attempt of the step.
            ServiceUnavailable: the store does not answer.
        """
        if (found := self._limits.get(engine)) is None or self._slots is None:
            return
        answer = await self._slots.take(engine, key, found.max_concurrent_runs, found.submit_rate)
        if answer.granted:
            return
        if answer.wait is not None:
            error = EngineFull(
                f"engine '{engine}' takes {found.submit_rate:g} runs a second; it is this one's turn in "
                f"{answer.wait:.1f} s",
                hint=f"submit_rate of [engines.{engine}] in meta.toml says so",
            )
            error.retry_after = answer.wait
        else:
            error = EngineFull(
                f"{answer.taken} of {found.max_concurrent_runs} runs of engine {engine} are under way; "
                "waiting for a slot",
                hint=f"max_concurrent_runs of [engines.{engine}] in meta.toml says so",
            )
            error.retry_after = min(ASK_AGAIN * 1.2 ** min(tries - 1, 20), LONGEST)
        raise error

    async def kept(self, engine: str, key: RunKey, work: Awaitable[T]) -> T:
        """Await what has a slot; give the slot back when it ends with an error that no retry mends."""
        try:
            return await work
        except MetaError as error:
            if not error.retryable:
                await self.free(engine, key)
            raise

    async def free(self, engine: str, key: RunKey, *, any_attempt: bool = False) -> None:
        """Give a slot back. Not a failure if there is none; one that cannot be given back now is swept later.

        Args:
            engine: the engine's name.
            key: of the attempt whose run has ended; what a later attempt has taken stays.
            any_attempt: whatever attempt of the step has it.
        """
        if engine not in self._limits or self._slots is None:
            return
        try:
            await self._slots.free(key, any_attempt=any_attempt)
        except ServiceUnavailable as error:
            log.warning("the slot of %s is given back when its meta-run has ended: %s", key, error.message)
