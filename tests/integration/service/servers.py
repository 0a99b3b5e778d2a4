"""Real servers of a test's own: NATS, and our service with workers and a scripted engine."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from meta.client import MetaClient
from meta.config import DatabaseConfig, GrpcConfig, MetaConfig, NatsConfig, TemporalConfig, TriggersConfig
from meta.processes import GuardedProcess, spawn
from meta.server_process import open_store
from meta.service import Service
from meta.store import Store
from tests.support.engine import ScriptedEngine
from tests.support.ports import free_port
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import NamedStore, StoreSettings

ARGO = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: step-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: rate, value: "1"}]}
  templates:
    - name: main
      container: {image: "busybox:1.36", command: [echo]}
"""

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain, description: Two steps of Argo}
inputs:
  rate: {type: number, default: 1}
  note: {type: string, default: ""}
steps:
  prepare:
    argo: {manifest: step.yaml}
    parameters: {rate: "${{ inputs.rate }}"}
  train:
    needs: [prepare]
    argo: {manifest: step.yaml}
outputs:
  rate: "${{ inputs.rate }}"
"""


def write_chain(folder: Path, text: str = CHAIN) -> Path:
    """A definition with its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.yaml").write_text(ARGO)
    file = folder / "chain.yaml"
    file.write_text(text)
    return file


@dataclass
class Rig:
    """Our service on a real Temporal, with workers in this process, whose engine does what the test says."""

    temporal: Client
    config: MetaConfig
    service: Service
    engine: ScriptedEngine
    folder: Path
    _workers: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def store(self) -> Store:
        return self.service.store

    def client(self) -> MetaClient:
        return MetaClient(self.address, patience_s=5)

    def chain(self, text: str = CHAIN) -> Path:
        return write_chain(self.folder / "definitions", text)

    async def work(self, engines: Mapping[str, Engine] | None = None, objects: ArtifactStore | None = None) -> None:
        """Start workers, which write to the same store as the service.

        Args:
            engines: in place of the scripted one.
            objects: where artifacts are; None for a store that does not answer.
        """
        await register_search_attributes(self.temporal)
        store = await self._workers.enter_async_context(await open_store(self.config))
        activities = Activities(
            engines=engines or {"argo": self.engine}, objects=objects or ArtifactStore(StoreSettings()),
            bundles=store, recorder=store,
        )  # fmt: skip
        await self._workers.enter_async_context(run_workers(self.temporal, activities, Sizes(shutdown_grace_s=0.1)))

    async def restart(self) -> None:
        """Stop the service and start it again at the same address."""
        grpc = GrpcConfig(address=self.address)
        await self.service.__aexit__(None, None, None)
        self.service = await Service(self.config.model_copy(update={"grpc": grpc})).__aenter__()

    async def close(self) -> None:
        await self._workers.aclose()
        await self.engine.close()
        await self.service.__aexit__(None, None, None)


@asynccontextmanager
async def rig(
    temporal: Client,
    folder: Path,
    nats_url: str = "",
    triggers: TriggersConfig | None = None,
    stores: Mapping[str, NamedStore] | None = None,
) -> AsyncGenerator[Rig]:
    config = MetaConfig(
        temporal=TemporalConfig(address=temporal.service_client.config.target_host, ui_url="http://ui.test/"),
        nats=NatsConfig(url=nats_url),
        triggers=triggers or TriggersConfig(),
        store=DatabaseConfig(url=f"sqlite+aiosqlite:///{folder}/store.db"),
        grpc=GrpcConfig(address="127.0.0.1:0"),
        stores=dict(stores or {}),
    )
    service = await Service(config).__aenter__()
    made = Rig(temporal, config, service, ScriptedEngine(), folder)
    try:
        yield made
    finally:
        await made.close()


@dataclass
class NatsServer:
    """A real nats-server with JetStream, whose data outlives it.

    Attributes:
        settings: text of its configuration file, beside what its command line says.
    """

    folder: Path
    url: str = ""
    settings: str = ""
    jetstream: bool = True
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _process: GuardedProcess | None = None

    async def start(self) -> None:
        """Start it on a free port, or on the port it had."""
        ports = self.folder / "ports"
        ports.mkdir(parents=True, exist_ok=True)
        port = self.url.rpartition(":")[2] or str(free_port())
        binary = Path(sys.executable).parent / "nats-server"
        file = self.folder / "nats.conf"
        file.write_text(self.settings)
        with (self.folder / "nats.log").open("ab") as out:
            process = await spawn(
                [str(binary), "-a", "127.0.0.1", "-p", port, "-c", str(file), "-sd", str(self.folder / "data"),
                 "--ports_file_dir", str(ports), *(["-js"] if self.jetstream else [])],
                stdout=out, stderr=out,
            )  # fmt: skip
        self._stack.push_async_callback(process.stop, 5.0)
        self._process = process
        async with asyncio.timeout(60):
            while True:
                for file in ports.glob("*.ports"):
                    if text := file.read_text():  # empty between its making and its writing
                        self.url = json.loads(text)["nats"][0]
                        return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it as a power cut of the process does; `start` brings it back with what it had written."""
        assert self._process is not None
        self._process.signal(signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        await self._stack.aclose()
        for file in (self.folder / "ports").glob("*.ports"):
            file.unlink()


@asynccontextmanager
async def nats_server(folder: Path, settings: str = "") -> AsyncGenerator[NatsServer]:
    server = NatsServer(folder, settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
