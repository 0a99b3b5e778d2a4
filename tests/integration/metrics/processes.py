"""The service and a worker as processes, with their metrics on, through a story that makes them count all there is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import nats
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import select
from temporalio.client import Client

from meta.client import MetaClient
from meta.processes import GuardedProcess, spawn
from meta.store import Store
from meta.store.event_tables import OutboxRow
from tests.integration.metrics.collector import Collector, collector
from tests.integration.service.servers import ARGO, nats_server
from tests.integration.triggers.support import eventually, standing
from tests.stubs.argo import ArgoStub
from tests.support.ports import free_ports
from tests.support.temporal import temporal_server
from workers.engines.json_view import child, text
from workflows.outcome import RunState
from workflows.values import JsonObject

ONE_STEP = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: NAME}
steps:
  train: {argo: {manifest: step.yaml}}
"""
TRIGGER = "triggers:\n  - nats: {name: rows, subject: a.b, when: event.rows > 1}\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """What two processes told at the end of the story, each by family, and what the collector was sent.

    `traceparents` are those of the engine runs and of the life-cycle events.
    """

    service: Mapping[str, Metric]
    worker: Mapping[str, Metric]
    collector: Collector
    traceparents: tuple[set[str], set[str]]

    def value(self, role: str, sample: str, **labels: str) -> float | None:
        """A sample's value; of several with these labels, the sum."""
        families = self.service if role == "service" else self.worker
        found = [
            one.value
            for family in families.values()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        ]
        return sum(found) if found else None


async def scrape(address: str) -> dict[str, Metric]:
    """What an endpoint tells, by family; empty while nobody listens."""

    def get() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    try:
        return {family.name: family for family in text_string_to_metric_families(await asyncio.to_thread(get))}
    except OSError:
        return {}


async def measure(folder: Path) -> Measured:
    """Run the story."""
    async with (
        temporal_server() as temporal,
        nats_server(folder / "nats") as events,
        ArgoStub(duration=None) as argo,
        collector() as sink,
    ):
        argo.status = _one_pod
        grpc, service, worker = (f"127.0.0.1:{port}" for port in free_ports(3))
        url = f"sqlite+aiosqlite:///{folder}/store.db"
        file = folder / "meta.toml"
        file.write_text(
            f'[grpc]\naddress = "{grpc}"\n[store]\nurl = "{url}"\n'
            f'[temporal]\naddress = "{_address(temporal)}"\n[nats]\nurl = "{events.url}"\n'
            f'[engines.argo]\nkind = "argo"\nurl = "{argo.url}"\nresync = 1\n'
            f'[telemetry]\nsampling = 0\notlp_endpoint = "{sink.endpoint}"\notlp_headers = {{x-token = "secret"}}\n'
            f'[telemetry.metrics]\nservice = "{service}"\nworker = "{worker}"\notlp = true\ninterval = 1\n'
        )
        async with (
            _process(folder, "service", file),
            _process(folder, "worker", file),
            _ended_by(argo),
            MetaClient(grpc, patience_s=60) as client,
            await Store.open(url) as store,
        ):
            await _story(folder, client, store, events.url)
            argo.cut_watches()
            seen: dict[str, dict[str, Metric]] = {}

            async def told() -> bool:
                seen["service"], seen["worker"] = await scrape(service), await scrape(worker)
                names = {one.name for role in seen.values() for family in role.values() for one in family.samples}
                return (
                    _LAST <= names
                    and _value(seen["service"], "meta_runs_running") == 1
                    and _value(seen["service"], "meta_outbox_size") == 0
                    and all(SENT[role] <= sink.names.get(role, set()) for role in SENT)
                )

            try:
                await eventually(told, 30)
            except TimeoutError:
                names = {name for role in seen.values() for name in role}
                sent = {role: sorted(SENT[role] - sink.names.get(role, set())) for role in SENT}
                raise AssertionError(f"not all is told: {sorted(names)}; not sent: {sent}; {_logs(folder)}") from None
            runs = {text(one, "metadata", "annotations", _TRACEPARENT) for one in argo.workflows.values()}
            async with store.database.read() as session:
                told_of = {str(row.event["traceparent"]) for row in (await session.exec(select(OutboxRow))).all()}
    return Measured(seen["service"], seen["worker"], sink, (runs, told_of))


SENT = {
    "service": {"meta.runs.running", "meta.outbox.size", "temporal_request"},
    "worker": {"meta.submit.latency", "meta.steps.ended", "temporal_num_pollers"},
}
"""Some of what the collector is sent by each process, each from another part of it."""

_TRACEPARENT = "meta-workflows/traceparent"
_LAST = {
    "meta_engine_watcher_restarts_total",
    "meta_runs_running",
    "meta_workers",
    "meta_outbox_size",
    "meta_events_published_total",
    "temporal_activity_schedule_to_start_latency_seconds_bucket",
    "temporal_num_pollers",
}


def _value(families: Mapping[str, Metric], name: str) -> float | None:
    return sum(one.value for one in families[name].samples) if name in families else None


async def _story(folder: Path, client: MetaClient, store: Store, nats_url: str) -> None:
    """Three meta-runs: one that succeeds, one that fails, one that goes on; and messages, of which one is dead."""
    for name, more in (("succeeds", TRIGGER), ("fails", ""), ("goes-on", "")):
        file = folder / f"{name}.yaml"
        file.write_text(ONE_STEP.replace("NAME", name) + more)
        (folder / "step.yaml").write_text(ARGO)
        await client.publish(file)
    await standing(store, 1)
    async with await nats.connect(nats_url) as connection:
        js = connection.jetstream()
        for data in (b'{"rows": 2}', b'{"rows": 1}', b"no JSON"):
            await js.publish("a.b", data)
    await client.start("goes-on", {})
    failed = await client.start("fails", {})
    assert (await client.wait(failed.id)).state is RunState.FAILED

    async def succeeded() -> bool:
        return bool((await store.runs.list(state=RunState.SUCCEEDED)).runs)

    await eventually(succeeded)


def _one_pod(workflow: JsonObject) -> JsonObject:
    """Nodes of a workflow with a pod that began two seconds after it, and one from the cache."""
    started = datetime.fromisoformat(text(workflow, "status", "startedAt"))
    name = text(workflow, "metadata", "name")
    pod: JsonObject = {"id": "a", "name": f"{name}.a", "type": "Pod", "phase": "Succeeded"}
    pod["startedAt"] = (started + timedelta(seconds=2)).isoformat()
    cached: JsonObject = {**pod, "id": "b", "name": f"{name}.b", "memoizationStatus": {"hit": True}}
    return {"nodes": {"a": pod, "b": cached}}


@asynccontextmanager
async def _ended_by(argo: ArgoStub) -> AsyncGenerator[None]:
    """Let the workflows end as the names of their meta-workflows say."""

    async def run() -> None:
        while True:
            for name, workflow in list(argo.workflows.items()):
                if text(child(workflow, "status"), "phase") == "Running" and not name.startswith("goes-on"):
                    argo.finish(name, "Failed" if name.startswith("fails") else "Succeeded", "said so")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _process(folder: Path, role: str, config: Path) -> AsyncGenerator[GuardedProcess]:
    async with AsyncExitStack() as stack:
        out = stack.enter_context((folder / f"{role}.log").open("wb"))
        command = [sys.executable, "-m", f"meta.{role}", "--config", str(config)]
        process = await spawn(command, stdout=out, stderr=out)
        stack.push_async_callback(process.stop, 10.0)
        yield process


def _logs(folder: Path) -> str:
    return "\n".join((folder / f"{role}.log").read_text()[-3000:] for role in ("service", "worker"))


def _address(temporal: Client) -> str:
    return temporal.service_client.config.target_host
