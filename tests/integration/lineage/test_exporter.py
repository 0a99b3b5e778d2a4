"""The service tells an OpenLineage receiver of chains over both engines."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlmodel import select
from temporalio.client import Client

from meta.client import MetaClient
from meta.config import DatabaseConfig, GrpcConfig, LineageConfig, MetaConfig, TelemetryConfig, TemporalConfig
from meta.server_process import open_store
from meta.service import Service
from meta.store.tables import ExportRow
from tests.stubs.lineage import Event, LineageReceiver
from tests.support.engine import ScriptedEngine
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import NamedStore, StoreSettings, StoreType
from workflows.outcome import Artifact, EngineKind, FailureClass, Outcome

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: hybrid}
steps:
  prepare:
    argo: {template: prepare}
  train:
    kfp: {pipeline: train}
    artifacts: {dataset: "${{ steps.prepare.artifacts.dataset }}"}
    retry: {attempts: 2, backoff: 10ms}
  deploy:
    argo: {template: deploy}
    artifacts: {model: "${{ steps.train.artifacts.model }}"}
"""


@dataclass
class Lab:
    """The service and workers, with an engine of each kind."""

    client: MetaClient
    service: Service
    chain: Path
    argo: ScriptedEngine
    kfp: ScriptedEngine


@asynccontextmanager
async def lab(temporal: Client, folder: Path, receiver: LineageReceiver) -> AsyncGenerator[Lab]:
    lake = folder / "lake"
    lake.mkdir()
    config = MetaConfig(
        temporal=TemporalConfig(address=temporal.service_client.config.target_host),
        store=DatabaseConfig(url=f"sqlite+aiosqlite:///{folder}/store.db"),
        grpc=GrpcConfig(address="127.0.0.1:0"),
        telemetry=TelemetryConfig(lineage=LineageConfig(url=receiver.url, api_key=SecretStr("key"), namespace="lab")),
    )
    chain = folder / "chain.yaml"
    chain.write_text(CHAIN)
    argo, kfp = ScriptedEngine(), ScriptedEngine(name="kfp", kind=EngineKind.KFP)
    argo.script["prepare"] = [Outcome(artifacts={"dataset": written(lake / "set")})]
    kfp.script["train"] = [
        Outcome(failure=FailureClass.FAILED, message="the trainer has no memory"),
        Outcome(artifacts={"model": written(lake / "model")}),
    ]
    stores = {"lake": NamedStore(type=StoreType.FILE, serves=(lake.as_uri(),))}
    objects = ArtifactStore(StoreSettings(staging=f"{folder.as_uri()}/copies/"), stores)
    await register_search_attributes(temporal)
    async with Service(config) as service, await open_store(config) as store:
        activities = Activities(engines={"argo": argo, "kfp": kfp}, objects=objects, bundles=store, recorder=store)
        async with (
            run_workers(temporal, activities, Sizes(shutdown_grace_s=0.1)),
            MetaClient(service.address, patience_s=5) as client,
        ):
            yield Lab(client, service, chain, argo, kfp)
        await argo.close()
        await kfp.close()
    objects.close()


def written(file: Path) -> Artifact:
    """A file of the lake, as an engine tells of it."""
    file.write_bytes(file.name.encode())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Artifact(name=file.name, uri=file.as_uri(), sha256=digest, size=file.stat().st_size)


def kinds(events: list[Event]) -> list[str]:
    return [event["eventType"] for event in events]


async def test_a_chain_over_both_engines_is_told_with_its_parents_and_what_flowed_between_its_steps(
    temporal: Client, tmp_path: Path
) -> None:
    async with LineageReceiver() as receiver, lab(temporal, tmp_path, receiver) as made:
        receiver.refuse = lambda event: 503 if receiver.asked == 1 else None  # away, when the run begins
        started = await made.client.start(made.chain)
        async with asyncio.timeout(30):
            ended = await made.client.wait(started.id)
        assert ended.state.value == "succeeded"  # no run waits for it
        await receiver.run_ended("hybrid")
        assert receiver.asked > len(receiver.events)

        assert receiver.faults == []
        assert receiver.tokens == {"Bearer key"}
        assert {job: kinds(receiver.of(job)) for job in ("hybrid", "hybrid.prepare", "hybrid.train")} == {
            "hybrid": ["START", "COMPLETE"],
            "hybrid.prepare": ["START", "COMPLETE"],
            "hybrid.train": ["START", "FAIL", "START", "COMPLETE"],
        }
        root = receiver.of("hybrid")[0]["run"]["runId"]
        for job in ("hybrid.prepare", "hybrid.train", "hybrid.deploy"):
            for event in receiver.of(job):
                parent = event["run"]["facets"]["parent"]
                assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == root
        failed = receiver.of("hybrid.train")[1]
        assert failed["run"]["facets"]["errorMessage"]["message"] == "the trainer has no memory"
        assert failed["run"]["facets"]["processing_engine"]["name"] == "Kubeflow Pipelines"
        for producer, consumer in (("prepare", "train"), ("train", "deploy")):
            output = receiver.of(f"hybrid.{producer}")[-1]["outputs"][0]
            for event in receiver.of(f"hybrid.{consumer}"):
                read = event["inputs"][0]
                assert (read["namespace"], read["name"]) == (output["namespace"], output["name"])
                assert read["facets"]["version"] == output["facets"]["version"]
        await forgotten(made.service)


async def test_an_event_that_the_receiver_never_takes_is_left_out_and_a_repeat_is_the_same_event(
    temporal: Client, tmp_path: Path
) -> None:
    async with LineageReceiver() as receiver, lab(temporal, tmp_path, receiver) as made:
        receiver.refuse = lambda event: 422 if event["job"]["name"] == "hybrid.prepare" else None
        made.argo.rejected["deploy"] = "no such template"
        started = await made.client.start(made.chain)
        await receiver.run_ended("hybrid")
        assert kinds(receiver.of("hybrid")) == ["START", "FAIL"]
        assert kinds(receiver.of("hybrid.deploy")) == ["START", "FAIL"]
        assert "no such template" in receiver.of("hybrid.deploy")[1]["run"]["facets"]["errorMessage"]["message"]
        assert receiver.of("hybrid.prepare") == []
        await forgotten(made.service)
        first = list(receiver.events)

        # as if the service had died before it could write down what it has told
        exports, record = made.service.store.exports, await made.service.store.traces.record(started.id)
        async with made.service.store.database.write() as session:
            await exports.mark(session, started.id, 1, late=False, over=[step.name for step in record.run.steps])
        await receiver.until(lambda: len(receiver.events) == 2 * len(first))
        again = receiver.events[len(first) :]
        assert sorted(map(str, again)) == sorted(map(str, first))


async def forgotten(service: Service, timeout_s: float = 20) -> None:
    """Wait until nothing is left to tell."""
    async with asyncio.timeout(timeout_s):
        while await _waiting(service):
            await asyncio.sleep(0.02)


async def _waiting(service: Service) -> bool:

    async with service.store.database.read() as session:
        return bool((await session.exec(select(ExportRow))).all())
