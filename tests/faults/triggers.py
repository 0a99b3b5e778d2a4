"""Triggers under fire: Temporal, NATS and services as processes that can be killed, and who counts the runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, PubAck, StreamConfig
from nats.js.errors import Error as JetStreamError
from temporalio.client import Client

from meta.client import MetaClient
from meta.processes import GuardedProcess, spawn
from meta.server_process import end_task
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

DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {{name: {name}}}
inputs:
  number: {{type: integer, default: -1}}
steps:
  work:
    argo: {{manifest: step.yaml}}
triggers:
  - nats:
      {{subject: {name}.>, name: all, stream: {stream}, ackWait: 1s, backoff: [1s], maxDeliver: {deliveries},
       inputs: {{number: "${{{{ event.n }}}}"}}}}
"""

SLOW_S = 120.0
"""For anything that should come at once; a busy machine needs half a minute to start a service."""


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

    async def died(self) -> int:
        """Wait until it has died by itself. Its exit code."""
        assert self._process is not None
        return await self._process.wait()

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
        return MetaClient(self.addresses[service], patience_s=SLOW_S)

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

    async def trial(self, name: str, *, deliveries: int = 1000, window_s: float = 120.0) -> Trial:
        """A definition of its own, with a stream; messages start runs when this returns.

        Args:
            name: of the definition, and first part of the subjects.
            deliveries: after which a message that fails is dead.
            window_s: how long the server itself knows an id again.
        """
        trial = Trial(self, name)
        await trial.make_stream(window_s)
        text = DEFINITION.format(name=name, stream=trial.stream, deliveries=deliveries)
        async with self.client() as client:
            await client.publish(write_chain(self.folder / name, text))
        await eventually(trial.pulled, SLOW_S, f"somebody pulls from {trial.stream}")
        return trial

    async def send(
        self, subject: str, data: bytes | Mapping[str, object], headers: dict[str, str] | None = None
    ) -> PubAck:
        """Publish as a producer does that wants its message stored: again until the server says that it is.

        While the server is down, a message without an id may be stored twice.
        """
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        while True:
            try:
                return await self.js.publish(subject, body, headers=headers)
            except (NatsError, JetStreamError, OSError, TimeoutError):
                await asyncio.sleep(0.1)

    def log_of(self, service: int = 0) -> str:
        return self.services[service].log.read_text()


@dataclass
class Trial:
    """A definition with its trigger and stream on a ground."""

    ground: Ground
    name: str

    @property
    def stream(self) -> str:
        return self.name.upper()

    async def make_stream(self, window_s: float = 120.0) -> None:
        await self.ground.js.add_stream(
            StreamConfig(name=self.stream, subjects=[f"{self.name}.>"], duplicate_window=window_s)
        )

    async def consumer(self) -> ConsumerInfo | None:
        """What NATS says of the trigger's consumer; None while it says nothing."""
        try:
            return await self.ground.js.consumer_info(self.stream, f"meta-{self.name}-all")
        except (NatsError, JetStreamError, OSError, TimeoutError):
            return None

    async def pulled(self) -> bool:
        info = await self.consumer()
        return info is not None and bool(info.num_waiting)

    async def begun(self) -> bool:
        """Whether a message has started a run."""
        return bool(await self.events("started"))

    async def send_anew(self, data: bytes | Mapping[str, object], headers: dict[str, str]) -> None:
        """Publish once more what has been published, when the server has forgotten its id."""
        async with asyncio.timeout(SLOW_S):
            while (await self.ground.send(f"{self.name}.again", data, headers)).duplicate:
                await asyncio.sleep(0.05)

    async def drained(self, timeout_s: float = SLOW_S) -> None:
        """Wait until every message of the stream has had its last word."""

        async def probe() -> bool:
            info = await self.consumer()
            return info is not None and not info.num_pending and not info.num_ack_pending

        await eventually(probe, timeout_s, f"every message of {self.stream} is acknowledged")

    async def runs(self, status: str = "") -> Counter[str]:
        """How many runs of the definition Temporal has, by workflow id."""
        query = f"WorkflowType = '{WORKFLOW_TYPE}'" + (f" AND ExecutionStatus = '{status}'" if status else "")
        found = [run.id async for run in self.ground.temporal_client.list_workflows(query)]
        return Counter(run for run in found if run.startswith(f"{self.name}-"))

    async def told(self) -> str:
        """What the store knows of messages, and the service's log, for a failure."""
        rows = [f"{row.identity} {row.outcome} {row.run_id} {row.reason}" for row in await self.events("")]
        return "\n".join([*rows, self.ground.log_of()[-20_000:]])

    def submitted(self) -> Counter[str]:
        """How many engine runs were submitted, by meta-run."""
        runs = [one.key.meta_run for one in self.ground.engine.submitted]
        return Counter(run for run in runs if run.startswith(f"{self.name}-"))

    @asynccontextmanager
    async def publishing(self, pause_s: float = 0.05) -> AsyncGenerator[Producer]:
        """Publish at a pace of its own, until `Producer.stop`."""
        producer = Producer(self, pause_s)
        try:
            yield producer
        finally:
            await end_task(producer.task)

    async def events(self, outcome: str) -> list[TriggerEventRow]:
        """What the store knows of messages; of all, with no outcome."""
        rows = await self.ground.store.triggers.list(self.name, limit=10_000)
        return [row for row in rows if outcome in ("", row.outcome)]

    async def assert_runs(self, numbers: Collection[int], timeout_s: float = SLOW_S) -> None:
        """Exactly one run for each number: for Temporal, for the store, and for the engine; all of them have ended."""
        count = len(numbers)

        async def ended() -> bool:
            return len(await self.runs("Completed")) >= count

        await eventually(ended, timeout_s, f"{count} runs of {self.name} have ended")
        runs = await self.runs()
        assert (len(runs), set(runs.values())) == (count, {1}), await self.told()
        assert {row.run_id for row in await self.events("started")} == set(runs)
        page = await self.ground.store.runs.list(workflow=self.name, size=count + 1)
        assert sorted(str(run.inputs["number"]) for run in page.runs) == sorted(map(str, numbers))
        assert self.submitted() == runs


@dataclass
class Producer:
    """Publishes messages one after another, each until the server has stored it.

    Attributes:
        stored: how many the server has acknowledged.
    """

    trial: Trial
    pause_s: float
    stored: int = 0
    _stopping: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._produce())

    async def _produce(self) -> None:
        name = self.trial.name
        while not self._stopping:
            await self.trial.ground.send(f"{name}.made", {"n": self.stored}, {"Nats-Msg-Id": f"{name}-{self.stored}"})
            self.stored += 1
            self._changed.set()
            await asyncio.sleep(self.pause_s)

    async def more(self, count: int) -> None:
        """Wait until so many more are stored."""
        wanted = self.stored + count
        async with asyncio.timeout(SLOW_S):
            while self.stored < wanted:
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> int:
        """Publish no more. How many are stored."""
        self._stopping = True
        await self.task
        return self.stored


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
