"""What a worker's circuit breakers do shows in the service, on the command line and in `meta doctor`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meta.cli.render import engines_table
from meta.client import EngineInfo, MetaClient
from meta.config import DatabaseConfig, GrpcConfig, MetaConfig, TemporalConfig
from meta.server_process import end_task
from meta.service import Service
from meta.stack import checks
from meta.stack.checks import Verdict
from meta.store import Store
from tests.integration.engines.submissions import argo_submission
from tests.stubs.argo import ArgoStub
from workers.artifacts import ArtifactStore
from workers.circuit import FAILURES
from workers.circuit_report import report_circuits
from workers.engines.argo.engine import ArgoEngine
from workers.settings import ArgoSettings, StoreSettings
from workflows.errors import EngineUnavailable


async def shown(client: MetaClient, state: str) -> EngineInfo:
    """The engine, once the service shows the worker's circuit in this state."""
    async with asyncio.timeout(30):
        while True:
            (engine,) = await client.engines()
            if [circuit.state for circuit in engine.circuits] == [state]:
                return engine
            await asyncio.sleep(0.05)


async def test_an_open_circuit_of_a_worker_shows_until_it_closes(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with ArgoStub() as stub, await Store.open(url) as store:
        settings = ArgoSettings(url=stub.url)
        config = MetaConfig(
            temporal=TemporalConfig(address="127.0.0.1:1"),
            store=DatabaseConfig(url=url),
            grpc=GrpcConfig(address="127.0.0.1:0"),
            engines={"argo": settings},
        )
        engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
        reporter = asyncio.create_task(report_circuits({"argo": engine}, store, "host/17"))
        async with Service(config) as service, MetaClient(service.address) as client:
            here = config.model_copy(update={"grpc": GrpcConfig(address=service.address)})
            assert (await shown(client, "closed")).circuits[0].worker == "host/17"
            assert [finding.verdict for finding in await checks.circuits(here)] == [Verdict.OK]
            stub.faults.bursts = FAILURES
            for _ in range(FAILURES):
                with pytest.raises(EngineUnavailable):
                    await engine.submit(argo_submission())
            (circuit,) = (await shown(client, "open")).circuits
            assert "answered 503" in circuit.reason
            assert circuit.retry_at is not None
            (finding,) = await checks.circuits(here)
            assert finding.verdict is Verdict.WARN
            assert "worker host/17: circuit open since" in finding.detail
            assert finding.detail.partition(" s ago")[1]
            table = engines_table(await client.engines())
            assert any("circuit open since" in str(cell) for cell in table.columns[-1].cells)
            while (await engine.health()).ok is False:
                await asyncio.sleep(0.1)
            await shown(client, "closed")
        await end_task(reporter)
        await engine.close()


async def test_the_doctor_does_not_miss_a_service_that_is_down(tmp_path: Path) -> None:
    (finding,) = await checks.circuits(MetaConfig(grpc=GrpcConfig(address="127.0.0.1:1")))
    assert finding.verdict is Verdict.SKIP
