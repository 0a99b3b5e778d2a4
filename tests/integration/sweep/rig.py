"""Our service and workers on a real Temporal, with both adapters against stubs of the engines' REST APIs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from meta.api.sweep import Pace
from meta.client import MetaClient, RunView
from meta.config import DatabaseConfig, GrpcConfig, MetaConfig, TemporalConfig
from meta.service import Service
from meta.store import Store
from tests.integration.engines.submissions import ARGO_MANIFEST, SETTLE, TIMEOUT
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.json_view import text
from workers.engines.registry import build_engines
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.messages import StepSnapshot

QUICK = Pace(every_s=0.3, again_s=0.5)

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps:
  one:
    argo: {manifest: step.yaml}
  two:
    kfp: {package: train.yaml}
"""


@dataclass
class Rig:
    """One installation. Its engines' runs go on until the test ends them."""

    temporal: Client
    folder: Path
    argo: ArgoStub
    kfp: KfpStub
    config: MetaConfig
    service: Service | None = None
    client: MetaClient = field(default_factory=MetaClient)
    _workers: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def store(self) -> Store:
        assert self.service is not None
        return self.service.store

    def chain(self, definition: str = CHAIN) -> Path:
        """A definition with what it names."""
        (self.folder / "step.yaml").write_text(ARGO_MANIFEST)
        (self.folder / "train.yaml").write_text(package({**pipeline_spec(), "deploymentSpec": {}}))
        file = self.folder / "chain.yaml"
        file.write_text(definition)
        return file

    async def serve(self, pace: Pace = QUICK) -> Service:
        self.service = await Service(self.config, sweep=pace).__aenter__()
        self.client = MetaClient(self.service.address, patience_s=20)
        return self.service

    async def stop_serving(self) -> None:
        await self.client.close()
        if self.service is not None:
            await self.service.__aexit__(None, None, None)
            self.service = None

    async def work(self) -> None:
        await register_search_attributes(self.temporal)
        store = await self._workers.enter_async_context(await Store.open(self.config.store.url))
        objects = ArtifactStore(StoreSettings())
        engines = build_engines(self.config.engines, objects)
        for engine in engines.values():
            self._workers.push_async_callback(engine.close)
        activities = Activities(engines=engines, objects=objects, bundles=store, recorder=store)
        await self._workers.enter_async_context(run_workers(self.temporal, activities, Sizes(shutdown_grace_s=0.1)))

    async def stop_working(self) -> None:
        await self._workers.aclose()

    async def start(self, definition: str = CHAIN) -> RunView:
        """Start a run and return when every step that can run has its engine run."""
        started = await self.client.start(self.chain(definition))
        return await self.until(started.id, lambda run: all(step.run is not None for step in run.steps))

    async def until(self, run_id: str, condition: Callable[[RunView], bool]) -> RunView:
        """Look at a run until it is as it should be."""
        run: RunView | None = None
        try:
            async with asyncio.timeout(40):
                while not condition(run := await self.client.get(run_id)):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise AssertionError(f"it never came to that: {run}") from error
        return run

    async def watched(self, run_id: str) -> RunView:
        """A run at its end; being watched, its end is noticed soon."""
        async with asyncio.timeout(40):
            return await self.client.wait(run_id)

    def states(self) -> list[str]:
        """The words of both engines, Argo's first."""
        workflows = [text(one, "status", "phase") for one in self.argo.workflows.values()]
        return workflows + [text(one, "state") for one in self.kfp.runs.values()]


async def eventually(condition: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = 40.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)


def step_of(run: RunView, name: str) -> StepSnapshot:
    return next(step for step in run.steps if step.name == name)


@asynccontextmanager
async def installation(temporal: Client, folder: Path, argo: ArgoStub, kfp: KfpStub) -> AsyncGenerator[Rig]:
    """An installation with a store of its own, on engines that it may share with another."""
    folder.mkdir(parents=True, exist_ok=True)
    config = MetaConfig(
        temporal=TemporalConfig(address=temporal.service_client.config.target_host),
        store=DatabaseConfig(url=f"sqlite+aiosqlite:///{folder}/store.db"),
        grpc=GrpcConfig(address="127.0.0.1:0"),
        engines={
            "argo": ArgoSettings(url=argo.url, request_timeout=TIMEOUT, settle_delay=SETTLE),
            "kfp": KfpSettings(url=kfp.url, request_timeout=TIMEOUT, settle_delay=SETTLE, poll=0.05),
        },
    )
    rig = Rig(temporal, folder, argo, kfp, config)
    try:
        yield rig
    finally:
        await rig.stop_working()
        await rig.stop_serving()
