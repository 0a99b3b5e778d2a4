"""A service's part that gathers, over a store in a file, with a Temporal that only remembers; and how it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.pool import QueuePool
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.api.starter import Started, Starter
from meta.api.temporal import TemporalRuns
from meta.store import Store
from meta.store.database import Database, parse_url
from meta.triggers.event import Event
from meta.triggers.gather import Gatherer, Pace
from meta.triggers.intake import Intake
from workflows.bundle import Bundle
from workflows.errors import NotFound, ServiceUnavailable
from workflows.messages import RunSnapshot, StartRun
from workflows.spec.models import MetaWorkflow
from workflows.spec.trigger_models import NatsTrigger
from workflows.starts import RunMemo, first_snapshot

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAST = Pace(poll=0.02, idle=0.03, claim=0.1, backoff=0.02, longest=0.1)
DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "chain", "description": "Takes what came"},
        "inputs": {"sets": {"type": "list"}, "last": {"type": "string", "default": ""}},
        "steps": {"work": {"argo": {"manifest": "step.yaml"}}},
    }
)
BUNDLE = Bundle(definition=DEFINITION, files={"step.yaml": "a"})
SETS = {"sets": "${{ events.map(e, e.id) }}", "last": "${{ event.id }}"}


def trigger(**fields: object) -> NatsTrigger:
    return NatsTrigger.model_validate({"subject": "sets.*", "name": "sets", "inputs": SETS, **fields})


def message(name: str, *, deliveries: int = 1, data: str | None = None) -> Event:
    raw = f'{{"name": "{data or name}"}}'
    return Event(
        subject="sets.new",
        data={"name": data or name},
        identity=f"nats:id:{name}",
        id=name,
        time=AT,
        headers={"Nats-Msg-Id": name},
        raw=raw.encode(),
        deliveries=deliveries,
    )


@dataclass
class Crash:
    """Stops a process for ever at one of the points that it passes; `at` 0: not by itself."""

    at: int = 0
    passed: int = 0
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    stopped_inside: int = 0
    tasks: list[asyncio.Task[object]] = field(default_factory=list[asyncio.Task[object]])

    async def point(self, *, inside: bool = False) -> None:
        """Go on, or not.

        Args:
            inside: of a transaction.
        """
        self.passed += 1
        if self.passed == self.at:
            self.dead.set()
        if self.dead.is_set():
            self.stopped_inside += inside
            await asyncio.Event().wait()


class RememberedRuns(TemporalRuns):
    """Temporal as far as starts go: it takes an id once, and outlives those who ask it."""

    def __init__(self) -> None:
        self.runs: dict[str, tuple[StartRun, RunMemo]] = {}
        self.unavailable = 0

    def serve(self, crash: Crash) -> TemporalRuns:
        """The same Temporal, for one who may die before and after a start."""
        return _Served(self, crash)

    async def start(self, run_id: str, start: StartRun, memo: RunMemo) -> bool:
        if self.unavailable:
            self.unavailable -= 1
            raise ServiceUnavailable("Temporal does not answer")
        if run_id in self.runs:
            return False
        self.runs[run_id] = (start, memo)
        return True

    async def memo(self, run_id: str) -> RunMemo:
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}")
        return self.runs[run_id][1]

    async def look(self, run_id: str) -> RunSnapshot:
        return first_snapshot(run_id, self.runs[run_id][0], datetime.now(UTC))

    async def namespace_id(self, *, fresh: bool = False) -> str:
        return "remembered"

    @property
    def sets(self) -> list[list[str]]:
        """The messages of each run, in the order of starts."""
        return [[str(name) for name in _list(start.inputs["sets"])] for start, _ in self.runs.values()]


def _list(value: object) -> Sequence[object]:
    assert isinstance(value, list)
    return value  # pyright: ignore[reportUnknownVariableType]


class _Served(RememberedRuns):
    def __init__(self, real: RememberedRuns, crash: Crash) -> None:
        self._real, self._crash = real, crash
        self.runs, self.unavailable = real.runs, 0

    async def start(self, run_id: str, start: StartRun, memo: RunMemo) -> bool:
        await self._crash.point()
        created = await self._real.start(run_id, start, memo)
        await self._crash.point()
        return created


class CrashingDatabase(Database):
    """Passes a point before and after each transaction, and within it before its commit."""

    def __init__(self, url: str, crash: Crash) -> None:
        super().__init__(parse_url(url))
        self._crash = crash

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        await self._crash.point()
        async with super().read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        await self._crash.point()
        async with super().write() as session:
            yield session
            await self._crash.point(inside=True)  # cancelled here, it rolls back
        await self._crash.point()

    async def bury(self) -> None:
        """Close it once nothing is under way; a driver that is cut in the middle of a statement leaves its thread."""
        self._crash.dead.set()
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        async with asyncio.timeout(10):
            while pool.checkedout() > self._crash.stopped_inside:
                await asyncio.sleep(0.001)
        for task in self._crash.tasks:
            task.cancel()
        await asyncio.gather(*self._crash.tasks, return_exceptions=True)
        await self.close()


@dataclass
class Process:
    """One service: it gathers, and answers for messages that are delivered to it."""

    store: Store
    gatherer: Gatherer
    crash: Crash

    def deliver(self, event: Event) -> asyncio.Task[Started]:
        task = asyncio.create_task(self.gatherer.begin(event))
        self.crash.tasks.append(task)
        return task


@asynccontextmanager
async def process(
    url: str, temporal: RememberedRuns, spec: NatsTrigger, *, crash: Crash | None = None, pace: Pace = FAST
) -> AsyncGenerator[Process]:
    """A service over a store whose schema is there; it is killed at the end, if it has not been."""
    crash = crash or Crash()
    database = CrashingDatabase(url, crash)
    store = Store(database)
    intake = Intake(Starter(store, temporal.serve(crash)), store)

    gatherer = Gatherer(intake, store, "chain", spec, pace=pace)
    made = Process(store, gatherer, crash)
    crash.tasks.append(asyncio.create_task(gatherer.run()))
    try:
        yield made
    finally:
        await database.bury()
