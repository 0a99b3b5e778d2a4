"""The configured engines, for logs and health. Built at the first need: their clients are slow to import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meta.api.feed import RunFeed
from meta.config import MetaConfig
from meta.store import Store
from workers.engines.base import Engine, EngineHealth, LogLine
from workflows.errors import NotFound
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import StepState
from workflows.suggest import did_you_mean

if TYPE_CHECKING:
    from workers.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What is known of an engine; `use_cases` are those that the configuration's table sends to it."""

    name: str
    kind: str
    url: str
    health: EngineHealth
    use_cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepLine:
    step: str
    line: LogLine


class Engines:
    """Engines by name, and the store of their artifacts, shared by all calls."""

    def __init__(self, config: MetaConfig) -> None:
        self._config = config
        self._built: dict[str, Engine] | None = None
        self._objects: ArtifactStore | None = None
        self._lock = asyncio.Lock()

    async def all(self) -> dict[str, Engine]:
        """Every engine of the configuration.

        Raises:
            SettingsInvalid: an engine's settings are wrong.
        """
        async with self._lock:
            if self._built is None:
                from workers.engines.registry import build_engines

                self._built = build_engines(self._config.engines, self.objects())
            return self._built

    def objects(self) -> ArtifactStore:
        """Where artifacts are."""
        if self._objects is None:
            from workers.artifacts import ArtifactStore  # slow to import

            config = self._config
            self._objects = ArtifactStore(config.objects, config.stores, config.engines)
        return self._objects

    async def get(self, name: str) -> Engine:
        """One engine.

        Raises:
            NotFound: none of this name is configured.
        """
        engines = await self.all()
        if name not in engines:
            raise NotFound(
                f"no engine {name!r} is configured for the service", hint=did_you_mean(name, engines, what="engines")
            )
        return engines[name]

    async def report(self) -> list[EngineReport]:
        """Whether each engine answers, asked side by side."""
        engines = await self.all()
        healths = await asyncio.gather(*(engine.health() for engine in engines.values()))
        table = self._config.use_cases
        return [
            EngineReport(
                name,
                engine.kind.value,
                self._config.engines[name].url,
                health,
                tuple(use_case for use_case, chosen in table.items() if chosen == name),
            )
            for (name, engine), health in zip(engines.items(), healths, strict=True)
        ]

    async def close(self) -> None:
        for engine in (self._built or {}).values():
            await engine.close()
        if self._objects is not None:
            self._objects.close()


class LogReader:
    """Log lines of a run's steps, from their engines."""

    def __init__(self, store: Store, engines: Engines, feed: RunFeed) -> None:
        self._store = store
        self._engines = engines
        self._feed = feed

    async def lines(self, run_id: str, step: str, *, follow: bool) -> AsyncGenerator[StepLine]:
        """Lines of one step, or of every step that has an engine run.

        Args:
            run_id: of the meta-run.
            step: empty for all of them.
            follow: go on until the run has ended, with steps that start later too.

        Raises:
            NotFound: no such run or step.
            EngineUnavailable: an engine does not answer.
        """
        run = await self._store.runs.get(run_id)
        names = [s.name for s in run.steps]
        if step and step not in names:
            raise NotFound(f"run {run_id} has no step {step!r}", hint=did_you_mean(step, names, what="steps"))
        if follow and not run.state.ended:
            async for line in self._follow(run_id, step):
                yield line
            return
        for one in _wanted(run, step):
            async for line in self._of(one, follow=False):
                yield line
        for one in run.steps:
            if one.items is not None and step in ("", one.name):
                async for line in self._of_items(run_id, one):
                    yield line

    async def _of(self, step: StepSnapshot, *, follow: bool) -> AsyncGenerator[StepLine]:
        assert step.run is not None  # _wanted
        engine = await self._engines.get(step.engine)
        async for line in engine.logs(step.run, follow=follow):
            yield StepLine(step.name, line)

    async def _of_items(self, run_id: str, step: StepSnapshot) -> AsyncGenerator[StepLine]:
        """Lines of a fan-out's items, one after another, under `train[3]`; those that failed come first."""
        failed = {
            one.position for one in await self._store.items.page(run_id, step.name, state=StepState.FAILED, limit=500)
        }
        runs = await self._store.items.engine_runs(run_id, step.name)
        for place in sorted(runs, key=lambda place: (place not in failed, place)):
            engine = await self._engines.get(runs[place].engine)
            async for line in engine.logs(runs[place], follow=False):
                yield StepLine(f"{step.name}[{place - 1}]", line)

    async def _follow(self, run_id: str, step: str) -> AsyncGenerator[StepLine]:
        queue: asyncio.Queue[StepLine] = asyncio.Queue(1000)

        async def tail(one: StepSnapshot) -> None:
            async for line in self._of(one, follow=True):
                await queue.put(line)

        async def tails() -> None:
            seen = set[tuple[str, int]]()
            async with asyncio.TaskGroup() as group:
                async for run in self._feed.watch(run_id):
                    for one in _wanted(run, step):
                        if (one.name, one.attempt) not in seen:
                            seen.add((one.name, one.attempt))
                            group.create_task(tail(one))

        task = asyncio.create_task(tails())
        try:
            while not (task.done() and queue.empty()):
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, task}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    yield getting.result()
                else:
                    getting.cancel()
            try:
                await task
            except* Exception as group:
                raise group.exceptions[0] from None  # the first engine that failed says it best
        finally:
            task.cancel()


def _wanted(run: RunSnapshot, step: str) -> list[StepSnapshot]:
    return [s for s in run.steps if s.run is not None and step in ("", s.name)]
