"""Triggers under fire: Temporal, NATS and services as processes that can be killed, and who counts the runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, PubAck
from nats.js.errors import Error as JetStreamError
from temporalio.client import Client

from meta.client import MetaClient
from meta.processes import GuardedProcess, spawn
from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from tests.integration.service.servers import NatsServer, nats_server, write_chain
from tests.support.engine import ScriptedEngine
from tests.support.nats_tap import NatsTap, nats_tap
from tests.support.ports import free_port
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.runtime import Sizes, connect, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.messages import WORKFLOW_TYPE

JOB = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: jobs}
inputs:
  number: {type: integer, default: -1}
steps:
  work:
    argo: {manifest: step.yaml}
triggers:
  - nats: {subject: jobs.>, name: all, ackWait: 1s, backoff: [1s], maxDeliver: 1000, inputs: {number: "${{ event.n }}"}}
"""
"""A run for each message below `jobs`, delivered again every second until it is acknowledged."""

STREAM = "JOBS"


async def eventually(probe: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
    """Wait for a state.

    Raises:
        AssertionError: it does not come in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not await probe():
        assert loop.time() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.1)


@dataclass
class ServerProcess:
    """A server that can be killed and started again where it was.

    Attributes:
        starts: how often it was started.
    """

    command: list[str]
    log: Path
    starts: int = 0
    _process: GuardedProcess | None = None

    async def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = await spawn(self.command, stdout=out, stderr=out)
        self.starts += 1

    async def kill(self) -> None:
        assert self._process is not None
        self._process.signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop(5.0)


@dataclass
class Ground:
    """Everything that a message passes through, each a process of its own but for the workers.

    Attributes:
        nats: the server; its files outlive it.
        tap: what the services believe to be the server.
        temporal: with its database in a file.
        services: on one store.
        engine: what the workers of this process run steps on.
        js: of a producer, past the tap.
    """

    folder: Path
    nats: NatsServer
    tap: NatsTap
    temporal: ServerProcess
    temporal_client: Client
    store: Store
    engine: ScriptedEngine
    producer: NatsClient
    _stack: AsyncExitStack
    services: list[ServerProcess] = field(default_factory=list[ServerProcess])
    addresses: list[str] = field(default_factory=list[str])

    @property
    def js(self) -> JetStreamContext:
        return self.producer.jetstream(timeout=2)

    def client(self, service: int = 0) -> MetaClient:
        return MetaClient(self.addresses[service], patience_s=60)

    async def add_service(self) -> ServerProcess:
        """Start one more service; it answers when this returns."""
        number, address = len(self.services), f"127.0.0.1:{free_port()}"
        config = self.folder / f"meta-{number}.toml"
        config.write_text(
            f'[grpc]\naddress = "{address}"\n[store]\nurl = "{_store_url(self.folder)}"\n'
            f'[temporal]\naddress = "{self.temporal_client.service_client.config.target_host}"\n'
            f'[nats]\nurl = "{self.tap.url}"\n'
        )
        command = [sys.executable, "-m", "meta.service", "--config", str(config)]
        service = ServerProcess(command, self.folder / f"service-{number}.log")
        self.services.append(service)
        self.addresses.append(address)
        await service.start()
        self._stack.push_async_callback(service.stop)
        async with self.client(number) as client:
            await client.workflows()
        return service

    async def publish_definition(self, text: str = JOB) -> None:
        """Publish a definition; its stream and consumer are there when this returns."""
        async with self.client() as client:
            await client.publish(write_chain(self.folder / "definitions", text))

    async def send(
        self, subject: str, data: bytes | Mapping[str, object], headers: dict[str, str] | None = None
    ) -> PubAck:
        """Publish as a producer does that wants its message stored: again until the server says that it is."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        while True:
            try:
                return await self.js.publish(subject, body, headers=headers)
            except (NatsError, JetStreamError, OSError, TimeoutError):
                await asyncio.sleep(0.1)

    async def consumer(self, consumer: str = "meta-jobs-all", stream: str = STREAM) -> ConsumerInfo | None:
        """What NATS says of a consumer; None while it says nothing."""
        try:
            return await self.js.consumer_info(stream, consumer)
        except (NatsError, JetStreamError, OSError, TimeoutError):
            return None

    async def drained(self, timeout_s: float = 60, stream: str = STREAM) -> None:
        """Wait until every message of the stream is acknowledged."""

        async def probe() -> bool:
            info = await self.consumer(stream=stream)
            return info is not None and not info.num_pending and not info.num_ack_pending

        await eventually(probe, timeout_s, "every message is acknowledged")

    async def runs(self) -> Counter[str]:
        """How many runs Temporal has, by workflow id."""
        return Counter(
            [run.id async for run in self.temporal_client.list_workflows(f"WorkflowType = '{WORKFLOW_TYPE}'")]
        )

    async def assert_runs(self, count: int, timeout_s: float = 60) -> None:
        """Exactly so many runs: for Temporal, for the store, and for the engine, and every run has ended."""

        async def ended() -> bool:
            finished = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Completed'"
            return (await self.temporal_client.count_workflows(finished)).count >= count

        await eventually(ended, timeout_s, f"{count} runs have ended")
        runs = await self.runs()
        assert (len(runs), set(runs.values())) == (count, {1})
        rows = await self.events("started")
        assert len({row.run_id for row in rows}) == count
        assert {row.run_id for row in rows} == set(runs)
        assert Counter(one.key.meta_run for one in self.engine.submitted) == runs

    async def events(self, outcome: str) -> list[TriggerEventRow]:
        return [row for row in await self.store.triggers.list(limit=10_000) if row.outcome == outcome]

    def log_of(self, service: int = 0) -> str:
        return self.services[service].log.read_text()


def _store_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/store.db"


@asynccontextmanager
async def ground(folder: Path) -> AsyncGenerator[Ground]:
    """Start all of it but services, of which a test adds as many as it wants."""
    async with AsyncExitStack() as stack:
        port = free_port()
        temporal = ServerProcess(temporal_command(folder, port), folder / "temporal.log")
        await temporal.start()
        stack.push_async_callback(temporal.stop)
        server = await stack.enter_async_context(nats_server(folder / "nats"))
        tap = await stack.enter_async_context(nats_tap(server.url))
        client = await connect(f"127.0.0.1:{port}", "default")
        await register_search_attributes(client)
        store = await stack.enter_async_context(await Store.open(_store_url(folder)))
        producer = await nats.connect(
            server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_quiet, allow_reconnect=True
        )
        stack.push_async_callback(producer.close)
        engine = ScriptedEngine()
        stack.push_async_callback(engine.close)
        activities = Activities(
            engines={"argo": engine}, objects=ArtifactStore(StoreSettings()), bundles=store, recorder=store
        )
        await stack.enter_async_context(run_workers(client, activities, Sizes(shutdown_grace_s=0.1)))
        services = await stack.enter_async_context(AsyncExitStack())
        yield Ground(folder, server, tap, temporal, client, store, engine, producer, services)


async def _quiet(_: Exception) -> None:
    """The servers go down on purpose."""


def temporal_command(folder: Path, port: int) -> list[str]:
    """The dev server with the embedded stack's settings."""
    return [
        str(Path(sys.executable).parent / "temporal"), "server", "start-dev", "--ip", "127.0.0.1",
        "--port", str(port), "--headless", "--db-filename", str(folder / "temporal.db"),
        "--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000", "--log-level", "error",
        "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL", "--disable-config-file",
    ]  # fmt: skip
