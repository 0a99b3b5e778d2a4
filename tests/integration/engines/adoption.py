"""Trials of one adopted run: tries of a submit that go wrong, drawn from a seed.

A worker process is an adapter with a keeper of its own on a store that all share. Killing it leaves its request under
way and its lease in force, as killing a real one does. What Temporal does around it is `submitted`: the next try comes
in a new process, after a short pause instead of Temporal's minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlmodel import select

from meta.store import Store
from meta.store.tables import OtherRunRow
from tests.integration.engines.eventually import eventually
from tests.stubs.creates import CreateScript, Creating
from workers.engines.base import Engine, Submission
from workers.ports import Keeper, Lease
from workflows.errors import EngineUnavailable, ServiceUnavailable
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, Outcome

REQUEST_TIMEOUT = 0.4
CONNECT_TIMEOUT = 0.3
SETTLE = 0.5
LATE = 3.0
"""Seconds by which a create that is held back lands: after the settle delay, and after the next tries have looked."""

PATIENCE = 90.0


class Kill(StrEnum):
    """What ends the process of a try, and when."""

    NOT = "not"
    TAKEN = "taken"  # it has the lease and has done nothing yet
    CHECKED = "checked"  # the lease was checked, the create not sent
    SENT = "sent"  # the create is on its way
    UNRECORDED = "unrecorded"  # it has returned, and Temporal was not told
    STOPPED = "stopped"  # not dead: it stands still just before the create, and goes on when the run is adopted


class KilledError(BaseException):
    """The process is gone; nothing in it runs on."""


@dataclass(slots=True)
class MortalKeeper:
    """A process' way to the store, which ends with the process."""

    store: Store
    kill: Kill
    dead: bool = False
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def _alive(self) -> None:
        if self.dead:
            raise ServiceUnavailable("the process is dead")

    async def take_lease(self, key: RunKey, token: str, holder: str, seconds: float) -> Lease:
        lease = await self.store.take_lease(key, token, holder, seconds)
        if self.kill is Kill.TAKEN and lease.token == token:
            self._die()
        return lease

    async def renew_lease(self, key: RunKey, token: str, seconds: float) -> bool:
        self._alive()
        if self.kill is Kill.STOPPED:
            self.stopped.set()
            await self.woken.wait()
        held = await self.store.renew_lease(key, token, seconds)
        if self.kill is Kill.CHECKED:
            self._die()
        return held

    async def release_lease(self, key: RunKey, token: str) -> None:
        self._alive()
        await self.store.release_lease(key, token)

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        return await self.store.first_end(key, uid, end)

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        self._alive()
        await self.store.other_run_ended(key, stays, ended, at)

    def _die(self) -> None:
        self.dead = True
        raise KilledError


@dataclass(slots=True)
class Trial:
    """One key, from the first try to the end of its run.

    Attributes:
        seed: decides everything but the machine's own delays.
        store: of all processes.
        build: makes the adapter of a process.
        creates: the stub's script.
        submission: what is run; its name is the trial's own.
        meanwhile: called between two tries, with the trial's random numbers.
    """

    seed: int
    store: Store
    build: Callable[[Keeper], Engine]
    creates: CreateScript
    submission: Submission
    meanwhile: Callable[[random.Random], Awaitable[None]]
    kills: list[Kill] = field(default_factory=list[Kill])
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    stragglers: list[tuple[MortalKeeper, asyncio.Task[EngineRunRef]]] = field(
        default_factory=list[tuple[MortalKeeper, asyncio.Task[EngineRunRef]]]
    )

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self.kills = draw.choices(list(Kill), [3, 1, 1, 3, 2, 1], k=draw.randint(1, 3))
        landing = round(draw.uniform(0.1, LATE), 2)
        bad = [
            Creating(applied=0.0),
            Creating(applied=None),
            Creating(applied=landing),
            Creating(applied=0.0, status=503),
            Creating(applied=None, status=500),
            Creating(applied=landing, status=504),
        ]
        self.creates.planned[self.submission.name] = draw.choices(bad, [3, 1, 4, 1, 1, 2], k=draw.randint(1, 3))

    @property
    def name(self) -> str:
        return self.submission.name

    def process(self, kill: Kill = Kill.NOT) -> tuple[MortalKeeper, Engine]:
        """A new worker process."""
        keeper = MortalKeeper(self.store, kill)
        engine = self.build(keeper)
        self.stack.push_async_callback(engine.close)
        return keeper, engine

    async def submitted(self) -> EngineRunRef:
        """Try until a try is recorded, then let those that stood still go on."""
        draw = random.Random(-self.seed)
        kills = list(self.kills)
        async with asyncio.timeout(PATIENCE):
            while True:
                kill = kills.pop(0) if kills else Kill.NOT
                ref = await self._one_try(kill)
                if ref is not None:
                    break
                await self.meanwhile(draw)
                await asyncio.sleep(0.05)
            for keeper, task in self.stragglers:
                before = self.creates.received[self.name]
                keeper.woken.set()
                try:
                    assert (await task).uid == ref.uid, "a straggler adopted another run"
                except EngineUnavailable as error:
                    assert "another try" in error.message or "does not answer" in error.message, error.message
                assert self.creates.received[self.name] == before, "a straggler sent a create"
        return ref

    async def _one_try(self, kill: Kill) -> EngineRunRef | None:
        keeper, engine = self.process(kill)
        before = self.creates.received[self.name]
        task = asyncio.create_task(engine.submit(self.submission))
        if kill is Kill.STOPPED:
            while not task.done() and not keeper.stopped.is_set():
                await asyncio.sleep(0.005)
            if not task.done():
                self.stragglers.append((keeper, task))
                return None
        if kill is Kill.SENT:
            while not task.done() and self.creates.received[self.name] == before:
                await asyncio.sleep(0.005)
            keeper.dead = True
            task.cancel()
        try:
            ref = await task
        except (KilledError, asyncio.CancelledError):
            return None
        except EngineUnavailable:
            return None
        except ServiceUnavailable:
            if not keeper.dead:
                raise
            return None
        return None if kill in (Kill.UNRECORDED, Kill.SENT) else ref

    async def waited(self, ref: EngineRunRef) -> Outcome:
        """Wait for the run in a process of its own, as often as the wait gives up."""
        _, engine = self.process()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await engine.wait(ref, lambda: None)
                except EngineUnavailable:
                    await asyncio.sleep(0.05)

    async def landed(self) -> None:
        """Every create that was held back has been carried out."""
        await eventually(lambda: not self.creates.held(self.name), f"{self.name}: all creates landed", timeout=PATIENCE)

    async def recorded(self) -> set[str]:
        """uids of what was ended beside the adopted run, as the store has them."""
        query = select(OtherRunRow.uid).where(OtherRunRow.run_id == self.submission.key.meta_run)
        async with self.store.database.read() as session:
            return set((await session.exec(query)).all())


async def run_trials(seeds: Sequence[int], one: Callable[[int], Awaitable[None]]) -> None:
    """Run trials side by side; what fails is named by its seed."""
    results = await asyncio.gather(*(one(seed) for seed in seeds), return_exceptions=True)
    failed = {seed: result for seed, result in zip(seeds, results, strict=True) if result is not None}
    for seed, problem in failed.items():
        raise AssertionError(f"seeds {sorted(failed)} failed; seed {seed}: {problem!r}") from problem
