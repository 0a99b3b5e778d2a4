"""Traces under fire: a collector, stubs of both engines, and Temporal, a worker and services that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from meta.client import MetaClient
from meta.store import Store
from meta.trace.model import Part, Span
from tests.faults.triggers import SLOW_S, ServerProcess, temporal_command
from tests.integration.service.servers import ARGO
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.support.otlp import GrpcCollector, grpc_collector
from tests.support.ports import free_port
from tests.support.traces import check_tree
from workers.engines.json_view import child, moment
from workflows.naming import RunKey, engine_run_name
from workflows.trace import trace_id
from workflows.values import JsonObject, JsonValue

NAME = "hybrid"
CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: hybrid}
steps:
  prepare:
    argo: {manifest: step.yaml}
  train:
    needs: [prepare]
    kfp: {package: train.yaml}
  deploy:
    needs: [train]
    argo: {manifest: step.yaml}
    retry: {attempts: 2, strategy: restart, backoff: 1ms}
"""

PIPELINE = """\
pipelineInfo: {name: noop}
root: {dag: {tasks: {}}}
deploymentSpec: {}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def nodes_of(workflow: JsonObject) -> JsonObject:
    """A status with a pod and what holds it, in the workflow's own time."""
    name = str(child(workflow, "metadata")["name"])
    status = child(workflow, "status")
    times: JsonObject = {key: status[key] for key in ("startedAt", "finishedAt", "phase")}
    below: list[JsonValue] = [f"{name}-1"]
    root: JsonObject = {"id": name, "name": name, "displayName": name, "type": "Steps", "children": below, **times}
    pod: JsonObject = {"id": f"{name}-1", "name": f"{name}[0].main", "displayName": "main", "type": "Pod", **times}
    return {"nodes": {name: root, f"{name}-1": pod}}


@dataclass
class Field:
    """All that a trace passes through on its way to the collector.

    Attributes:
        services: on one store.
        store: read by the test.
    """

    folder: Path
    collector: GrpcCollector
    argo: ArgoStub
    kfp: KfpStub
    temporal: ServerProcess
    worker: ServerProcess
    store: Store
    chain: Path
    services: list[ServerProcess] = field(default_factory=list[ServerProcess])
    addresses: list[str] = field(default_factory=list[str])

    async def start_run(self, *, failing: bool) -> str:
        """Start a chain whose last step fails once, or not."""
        async with MetaClient(self.addresses[0], patience_s=SLOW_S) as client:
            run_id = (await client.start(self.chain)).id
        if failing:
            name = engine_run_name(NAME, RunKey(meta_run=run_id, step="deploy", attempt=1))
            self.argo.plans[name] = ["Failed"]
        return run_id

    async def ended(self, run_id: str, timeout_s: float = SLOW_S) -> None:
        """Wait until the run has ended, its trace has arrived, and nothing of it is left to be told."""
        async with asyncio.timeout(timeout_s):
            while not (await self.store.runs.get_many([run_id]) and (await self.store.runs.get(run_id)).state.ended):
                await asyncio.sleep(0.05)
        await self.collector.until(lambda: any(span.part is Part.RUN for span in self.spans(run_id)), SLOW_S)
        async with asyncio.timeout(SLOW_S):
            while run_id in await self.store.exports.open("otlp"):
                await asyncio.sleep(0.05)

    def spans(self, run_id: str) -> list[Span]:
        """What has arrived of a run, repeats too."""
        return self.collector.trace(trace_id(run_id, {}))

    async def check(self, run_id: str) -> None:
        """One tree, complete, whose engine runs have the engines' own times."""
        told = self.spans(run_id)
        check_tree(told)
        spans = {span.span_id: span for span in told}.values()
        record = await self.store.traces.record(run_id)
        assert {span.name for span in spans if span.part is Part.STEP} >= {
            f"step {step.name}" for step in record.run.steps
        }
        wanted = sorted(self._times(attempt.ref.name) for attempt in record.attempts)
        assert sorted((span.start, span.end) for span in spans if span.part is Part.ENGINE) == wanted
        assert sum(span.part is Part.ATTEMPT for span in spans) == len(record.attempts)
        assert sum(span.part is Part.NODE for span in spans) == sum(len(attempt.nodes) for attempt in record.attempts)

    def _times(self, name: str) -> tuple[datetime | None, datetime | None]:
        """When an engine run began and ended, as its engine says."""
        if (workflow := self.argo.workflows.get(name)) is not None:
            status = child(workflow, "status")
            return moment(status["startedAt"]), moment(status["finishedAt"])
        run = next(run for run in self.kfp.runs.values() if run["display_name"] == name)
        return moment(run["created_at"]), moment(run["finished_at"])


@asynccontextmanager
async def tracing_field(folder: Path, services: int = 1) -> AsyncGenerator[Field]:
    """Start all of it; it works when this yields."""
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(grpc_collector())
        argo = await stack.enter_async_context(ArgoStub(duration=0.2))
        argo.status = nodes_of
        kfp = await stack.enter_async_context(KfpStub(duration=0.2))
        port = free_port()
        temporal = ServerProcess(temporal_command(folder, port), folder / "temporal.log")
        await temporal.start()
        stack.push_async_callback(temporal.stop)
        url = f"sqlite+aiosqlite:///{folder}/store.db"
        store = await stack.enter_async_context(await Store.open(url))

        def server(module: str, number: int, address: str) -> ServerProcess:
            config = folder / f"{module}-{number}.toml"
            config.write_text(
                f'[grpc]\naddress = "{address}"\n[store]\nurl = "{url}"\n'
                f'[temporal]\naddress = "127.0.0.1:{port}"\n[telemetry]\notlp_endpoint = "{collector.endpoint}"\n'
                f'[engines.argo]\nkind = "argo"\nurl = "{argo.url}"\n'
                f'[engines.kfp]\nkind = "kfp"\nurl = "{kfp.url}"\npoll = 0.2\npoll_slowest = 0.5\n'
            )
            command = [sys.executable, "-m", f"meta.{module}", "--config", str(config)]
            return ServerProcess(command, folder / f"{module}-{number}.log")

        chain = folder / "chain.yaml"
        chain.write_text(CHAIN)
        (folder / "step.yaml").write_text(ARGO)
        (folder / "train.yaml").write_text(PIPELINE)
        made = Field(folder, collector, argo, kfp, temporal, server("worker", 0, "127.0.0.1:1"), store, chain)
        for number in range(services):
            made.addresses.append(f"127.0.0.1:{free_port()}")
            made.services.append(server("service", number, made.addresses[-1]))
        for process in (made.worker, *made.services):
            await process.start()
            stack.push_async_callback(process.stop)
        yield made


@dataclass
class DeadlyRequests:
    """Kills a service in the middle of a request of its exporter: the spans have arrived, the answer never comes.

    Attributes:
        at: numbers of requests, counted from now.
        kill: ends a service and starts it again.
        done: kills that have happened.
    """

    collector: GrpcCollector
    at: set[int]
    kill: Callable[[], asyncio.Task[None]]
    done: int = 0
    _count: int = 0

    def arm(self) -> None:
        self.collector.heard = self._look

    def _look(self, _: object) -> None:
        self._count += 1
        if self._count in self.at:
            self.collector.hanging = True
            self.kill().add_done_callback(self._over)

    def _over(self, _: asyncio.Task[None]) -> None:
        self.done += 1
        self.collector.hanging = False
