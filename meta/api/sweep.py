"""Ends engine runs that no meta-run is left to end, and notices those that people start again.

A meta-run that is terminated in Temporal, or times out there, or is deleted, has nobody who ends its engine runs. Every
service sweeps: all calls may be repeated, so several of them do no harm, and one that is killed in the middle leaves
the rest to the next sweep.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from meta.api.engines import Engines
from meta.api.orphans import Orphan, OrphanFinder
from meta.api.verdict import HASTY, Reason
from meta.store import Store
from meta.store.engine_runs import AdoptedRun
from workers.engines.base import Engine, RunPhase
from workers.log_context import LogContext, set_log_context
from workflows.errors import MetaError
from workflows.inputs import MAX_OUTPUTS
from workflows.manifests import definition_names
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Outcome, StepState
from workflows.values import canonical_json

log = logging.getLogger(__name__)

EVERY_S = 30.0
AGAIN_S = 20.0
_FIRST_S = 2.0
_AT_ONCE = 8
_LOT = 200
_READ_S = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to sweep, and how long a doubtful run must look like an orphan before it is ended. Seconds."""

    every_s: float = EVERY_S
    again_s: float = AGAIN_S


class Sweeper:
    """Looks at all engines now and then, and soon after `nudge`."""

    def __init__(self, store: Store, engines: Engines, finder: OrphanFinder, pace: Pace | None = None) -> None:
        self._store = store
        self._engines = engines
        self._finder = finder
        self._pace = pace or Pace()
        self._wanted = asyncio.Event()
        self._suspects: dict[str, dict[str, float]] = {}
        self._silent: set[str] = set()
        self._settled: RunKey | None = None

    def nudge(self) -> None:
        """A meta-run has ended abruptly: sweep now."""
        self._wanted.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        pause = min(_FIRST_S, self._pace.every_s)
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), pause)
            except TimeoutError:
                pass
            self._wanted.clear()
            pause = self._pace.every_s * random.uniform(0.8, 1.2)  # several services must not come in step
            await self.sweep()

    async def sweep(self) -> None:
        """One round. What does not answer now is tried in the next."""
        try:
            engines = await self._engines.all()
        except MetaError as error:  # settings that are wrong; the calls that need an engine say so too
            log.warning("cannot sweep: %s", error)
            return
        await asyncio.gather(*(self._guarded(name, self._engine(engine)) for name, engine in engines.items()))
        await self._guarded("", self._settle(engines))

    async def _guarded(self, engine: str, work: Awaitable[None]) -> None:
        try:
            await work
            self._silent.discard(engine)
        except MetaError as error:
            where = f"engine '{engine}'" if engine else "the ends of engine runs"
            level = logging.DEBUG if engine in self._silent else logging.WARNING  # said once, not at every round
            self._silent.add(engine)
            log.log(level, "cannot sweep %s now: %s", where, error)

    async def _engine(self, engine: Engine) -> None:
        before = self._suspects.get(engine.name, {})
        suspects: dict[str, float] = {}
        self._suspects[engine.name] = suspects
        due: list[Orphan] = []
        async with aclosing(self._finder.find(engine)) as orphans:
            async for orphan in orphans:
                if orphan.reason is Reason.BY_HAND and orphan.adopted is not None:
                    await self._reopened(orphan, orphan.adopted)
                elif orphan.swept:
                    uid, now = orphan.run.ref.uid, time.monotonic()
                    suspects[uid] = before.get(uid, now)
                    if orphan.reason in HASTY or now - suspects[uid] >= self._pace.again_s:
                        due.append(orphan)
        slots = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._end(orphan, slots) for orphan in due))

    async def _end(self, orphan: Orphan, slots: asyncio.Semaphore) -> None:
        ref = orphan.run.ref
        async with slots:
            log.warning(
                "ending %s (%s) at engine '%s', which nobody waits for: %s; %s",
                ref.name,
                ref.uid,
                ref.engine,
                orphan.reason.value,
                orphan.detail,
            )
            ended = await self._finder.end(orphan)
        if ended.error is not None:
            log.warning("%s (%s) has not ended yet, it is asked again: %s", ref.name, ref.uid, ended.error)
        elif orphan.adopted is not None:
            await self._store.noted(orphan.adopted.key, f"the service has ended its engine run: {orphan.reason.value}")

    async def _reopened(self, orphan: Orphan, adopted: AdoptedRun) -> None:
        ref, key = orphan.run.ref, adopted.key
        note = f"attempt {key.attempt}: retried by hand at the engine, running again since before {_clock()}"
        if await self._store.engine_runs.reopen(key, note):
            log.warning(
                "%s (%s) at engine '%s' has ended for %s and runs again: somebody has retried it by hand",
                ref.name,
                ref.uid,
                ref.engine,
                key,
            )

    async def _settle(self, engines: Mapping[str, Engine]) -> None:
        """Read the ends of runs that nobody waits for, a lot at a round."""
        lot = await self._store.engine_runs.unsettled(self._settled, _LOT)
        self._settled = lot[-1].key if len(lot) == _LOT else None
        slots = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._settle_one(engines.get(one.ref.engine), one, slots) for one in lot))

    async def _settle_one(self, engine: Engine | None, one: AdoptedRun, slots: asyncio.Semaphore) -> None:
        if engine is None:
            return
        key = one.key
        set_log_context(LogContext(run=key.meta_run, step=key.step, attempt=key.attempt, engine=one.ref.engine))
        try:
            async with slots, asyncio.timeout(_READ_S):
                outcome = await _end_of(engine, one)
        except (MetaError, TimeoutError) as error:
            log.info("the end of %s at engine '%s' cannot be read now: %s", one.ref.name, one.ref.engine, error)
            return
        if outcome is None:
            return
        word = "succeeded" if outcome.failure is None else outcome.failure.value
        if await self._store.engine_runs.settle(one.key, outcome, datetime.now(UTC), await self._note(one, word)):
            log.info("%s (%s) of %s has ended: %s", one.ref.name, one.ref.uid, one.key, word)

    async def _note(self, one: AdoptedRun, word: str) -> str:
        """What a person who looks at the step must know besides its state."""
        if one.reopened:
            return (
                f"attempt {one.key.attempt}: retried by hand at the engine, and then {word} (seen {_clock()}); "
                "the step keeps its state"
            )
        run = (await self._store.runs.get_many([one.key.meta_run])).get(one.key.meta_run)
        step = next((s for s in run[1].steps if s.name == one.key.step), None) if run is not None else None
        lost = step is not None and step.state is StepState.LOST and step.attempt == one.key.attempt
        return f"its engine run has ended: {word}" if lost else ""


async def _end_of(engine: Engine, one: AdoptedRun) -> Outcome | None:
    """How a run ended; None while it goes on."""
    phase = await engine.phase_of(one.ref)
    if phase is RunPhase.RUNNING:
        return None
    if phase is RunPhase.GONE:
        return Outcome(failure=FailureClass.LOST, message=f"'{one.ref.name}' is gone from engine '{one.ref.engine}'")
    outcome = await engine.wait(one.ref, _no_sign)
    outputs = definition_names(outcome.outputs)
    return outcome.model_copy(update={"outputs": outputs if len(canonical_json(outputs)) <= MAX_OUTPUTS else {}})


def _no_sign() -> None:
    """Nobody waits for signs of life of a read."""


def _clock() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
