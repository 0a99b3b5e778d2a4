"""Engine runs without a live meta-run, and the reverse: looked for at the engines, judged by Temporal's word.

The store says cheaply what is surely in order. Whatever it does not vouch for is asked of Temporal, the truth about
running things, and read again at the engine, whose lists lag.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from meta.api.engines import Engines
from meta.api.temporal import Existence, TemporalRuns
from meta.api.verdict import SWEPT, Owner, Reason, judge
from meta.store import Store
from meta.store.engine_runs import AdoptedRun
from workers.engines.base import Engine, OurRun, RunPhase
from workflows.errors import MetaError, ServiceUnavailable
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, RunState, StepState

_LOT = 200
_AT_ONCE = 8
_STEPS = 500


@dataclass(frozen=True, slots=True)
class Orphan:
    """An engine run that goes on and belongs to no live meta-run.

    Attributes:
        meta_run: whose it says it is; empty when its key cannot be read.
        detail: more about the reason, for people.
        adopted: what the store knows of it.
    """

    run: OurRun
    meta_run: str
    reason: Reason
    detail: str = ""
    adopted: AdoptedRun | None = None

    @property
    def swept(self) -> bool:
        """Whether the service ends it by itself."""
        return self.reason in SWEPT


@dataclass(frozen=True, slots=True)
class MissingRun:
    """A running step of a live meta-run whose engine run the engine no longer has."""

    meta_run: str
    step: str
    ref: EngineRunRef


@dataclass(frozen=True, slots=True)
class EngineTrouble:
    """An engine that could not be asked."""

    engine: str
    error: MetaError


@dataclass(frozen=True, slots=True)
class EndedOrphan:
    """What became of ending one; `error` is None when the engine has confirmed the end."""

    orphan: Orphan
    error: MetaError | None = None


Finding = Orphan | MissingRun | EngineTrouble | EndedOrphan


@dataclass(slots=True)
class _Look:
    """What one look at an engine has learned: one question to Temporal for each meta-run, however many its runs."""

    existences: dict[str, Existence | None] = field(default_factory=dict[str, "Existence | None"])
    namespace: str = ""
    words: dict[str, RunSnapshot | None] = field(default_factory=dict[str, "RunSnapshot | None"])


class OrphanFinder:
    """Finds and ends orphans."""

    def __init__(self, store: Store, temporal: TemporalRuns, engines: Engines) -> None:
        self._store = store
        self._temporal = temporal
        self._engines = engines

    async def find(self, engine: Engine, seen: set[str] | None = None) -> AsyncGenerator[Orphan]:
        """Orphans of one engine.

        Args:
            engine: to look at.
            seen: takes the engine's ids of all our runs that go on.

        Raises:
            EngineError: the engine does not answer, or refuses.
            ServiceUnavailable: Temporal or the store does not answer.
        """
        look = _Look()
        async with aclosing(_lots(engine)) as lots:
            async for lot in lots:
                if seen is not None:
                    seen.update(run.ref.uid for run in lot)
                for orphan in await self._judged(engine, lot, look):
                    yield orphan

    async def missing(self, engine: Engine, seen: set[str]) -> AsyncGenerator[MissingRun]:
        """Running steps of live meta-runs whose engine run is gone.

        Args:
            engine: to look at.
            seen: ids of the runs that go on, as `find` has filled it in.
        """
        after: tuple[str, str, int] | None = None
        while lot := await self._store.engine_runs.awaited(engine.name, after, _STEPS):
            for one in lot:
                after = one.run_id, one.step, one.index
                if one.ref.uid not in seen and await engine.phase_of(one.ref) is RunPhase.GONE:
                    yield MissingRun(one.run_id, one.step, one.ref)

    async def end(self, orphan: Orphan) -> EndedOrphan:
        """End one run, and say so once the engine confirms it. Ending it twice is fine."""
        ref = orphan.run.ref
        try:
            engine = await self._engines.get(ref.engine)
            await engine.terminate(_of_no_run(orphan), ref.name, ref)
        except MetaError as error:
            return EndedOrphan(orphan, error)
        return EndedOrphan(orphan)

    async def report(
        self, engine: str = "", *, terminate: bool = False, uids: Sequence[str] = ()
    ) -> AsyncGenerator[Finding]:
        """All there is to say to a person, engine by engine; one that does not answer does not hide the others.

        Args:
            engine: only this one; empty: all.
            terminate: end what is found, also what the sweep would leave alone.
            uids: only these, when it is to be ended; none: all.

        Raises:
            NotFound: there is no engine of this name.
            ServiceUnavailable: Temporal or the store does not answer.
        """
        engines = [await self._engines.get(engine)] if engine else list((await self._engines.all()).values())
        for one in engines:
            found: list[Orphan] = []
            seen = set[str]()
            try:
                async with aclosing(self.find(one, seen)) as orphans:
                    async for orphan in orphans:
                        yield orphan
                        if not uids or orphan.run.ref.uid in uids:
                            found.append(orphan)
                async with aclosing(self.missing(one, seen)) as gone:
                    async for missing in gone:
                        yield missing
            except ServiceUnavailable:
                raise  # without Temporal or the store nothing can be told of any engine
            except MetaError as error:
                yield EngineTrouble(one.name, error)
            if terminate:
                async for ended in self._end_all(found):
                    yield ended

    async def _end_all(self, orphans: Sequence[Orphan]) -> AsyncGenerator[EndedOrphan]:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(orphan: Orphan) -> EndedOrphan:
            async with slots:
                return await self.end(orphan)

        tasks = [asyncio.create_task(one(orphan)) for orphan in orphans]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for task in tasks:
                task.cancel()

    async def _judged(self, engine: Engine, lot: Sequence[OurRun], look: _Look) -> list[Orphan]:
        keys = {run.ref.uid: RunKey.parse(run.key) for run in lot}
        known = await self._store.runs.get_many({key.meta_run for key in keys.values() if key is not None})
        adopted = await self._store.engine_runs.by_uid(engine.name, list(keys))
        orphans: list[Orphan] = []
        for run in lot:
            key = keys[run.ref.uid]
            snapshot = known[key.meta_run][1] if key is not None and key.meta_run in known else None
            known_as = adopted.get(run.ref.uid)
            if key is not None and snapshot is not None and _in_order(run, key, snapshot, known_as):
                continue
            orphan = await self._orphan(run, key, snapshot, known_as, look)
            if orphan is not None and await engine.phase_of(run.ref) is RunPhase.RUNNING:
                orphans.append(orphan)
        return orphans

    async def _orphan(
        self, run: OurRun, key: RunKey | None, snapshot: RunSnapshot | None, adopted: AdoptedRun | None, look: _Look
    ) -> Orphan | None:
        if key is None:
            return Orphan(run, "", Reason.UNREADABLE, f"its key is {run.key!r}")
        name = key.meta_run
        if name not in look.existences:
            look.existences[name] = await self._temporal.existence(name)
        existence = look.existences[name]
        if existence is None and snapshot is not None:
            if not snapshot.state.ended:
                return None  # Temporal has forgotten it, and the store has not been told; it soon will be
            existence = await self._remembered(snapshot, look)
        step = None
        if existence is not None and not existence.state.ended:
            if name not in look.words:
                look.words[name] = await self._temporal.asked(name)
            word = look.words[name]
            step = next((s for s in word.steps if s.name == key.step), None) if word is not None else None
        ended_before = adopted is not None and (adopted.ended_at is not None or adopted.reopened)
        owner = Owner(existence, step, adopted=adopted is not None, ended_before=ended_before)
        reason = judge(run, owner)
        return None if reason is None else Orphan(run, name, reason, _detail(reason, key, existence), adopted)

    async def _remembered(self, snapshot: RunSnapshot, look: _Look) -> Existence | None:
        """What the store says of a meta-run that Temporal has forgotten; nothing if it ran in another Temporal.

        A service that is pointed at another Temporal must not take every run of its store for deleted.
        """
        if snapshot.temporal_namespace:
            look.namespace = look.namespace or await self._temporal.namespace_id(fresh=True)
            if look.namespace != snapshot.temporal_namespace:
                return None
        abrupt = snapshot.state is RunState.TERMINATED
        return Existence(snapshot.state, abrupt, snapshot.started_at, snapshot.finished_at)


def _in_order(run: OurRun, key: RunKey, snapshot: RunSnapshot, adopted: AdoptedRun | None) -> bool:
    """Whether the store vouches for it: its meta-run goes on, and the step waits for this very run."""
    if snapshot.state.ended:
        return False
    step = next((one for one in snapshot.steps if one.name == key.step), None)
    if key.index:  # of a fan-out, whose step has no one engine run
        return step is not None and step.state is StepState.RUNNING and adopted is not None and adopted.ended_at is None
    waits = step is not None and step.state is StepState.RUNNING and step.run is not None
    return waits and step is not None and step.run is not None and step.run.uid == run.ref.uid


def _of_no_run(orphan: Orphan) -> RunKey:
    """A key that no run carries: an orphan is ended by its reference alone.

    Ending by its own key would end every run of the attempt, and one of them may be in order.
    """
    key = RunKey.parse(orphan.run.key)
    step = key.step if key is not None else "orphan"
    return RunKey(meta_run=orphan.meta_run or "orphan", step=step, attempt=0)


def _detail(reason: Reason, key: RunKey, existence: Existence | None) -> str:
    attempt = f"attempt {key.attempt} of step {key.step}"
    words = {
        Reason.UNKNOWN: f"no meta-run {key.meta_run} is known here; it may be another installation's",
        Reason.SUPERSEDED: f"{attempt} is over; a later one has its own run",
        Reason.DUPLICATE: f"step {key.step} waits for another run of the same name",
        Reason.STEP_ENDED: f"step {key.step} has ended",
        Reason.BY_HAND: f"{attempt} had ended; somebody retried it at the engine",
    }
    if reason in words or existence is None or existence.ended_at is None:
        return words.get(reason, "")
    return f"{key.meta_run} {existence.state.value} at {existence.ended_at:%Y-%m-%d %H:%M:%S} UTC"


async def _lots(engine: Engine) -> AsyncGenerator[list[OurRun]]:
    """The engine's list in lots, so that the store is asked once for many."""
    lot: list[OurRun] = []
    async for run in engine.list_ours():
        lot.append(run)
        if len(lot) >= _LOT:
            yield lot
            lot = []
    if lot:
        yield lot
