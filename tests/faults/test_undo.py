"""Runs that fail or are cancelled anywhere while their worker is killed: what was done is taken back once, in order."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.client import Client

from meta.client import MetaClient, RunView
from tests.faults.triggers import ServerProcess, eventually
from tests.integration.service.servers import ARGO, rig
from tests.stubs.argo import ENDED, ArgoStub
from tests.support.temporal import temporal_server
from workers.engines.json_view import text
from workflows.messages import StepRole
from workflows.naming import ANNOTATION_KEY, RunKey, engine_run_name, request_run_id
from workflows.outcome import RunState, StepState

COUNT = 30
CONFIG = """\
[temporal]
address = "{temporal}"
[store]
url = "sqlite+aiosqlite:///{folder}/store.db"
[engines.argo]
kind = "argo"
url = "{stub}"
namespace = "argo"
request_timeout = 3
settle_delay = 4
"""


@dataclass
class Trial:
    """One seed: a graph, and where its run fails or is cancelled."""

    seed: int
    stub: ArgoStub
    client: MetaClient
    folder: Path
    compensated: set[str] = field(default_factory=set[str])

    @property
    def name(self) -> str:
        return f"chain{self.seed}"

    @property
    def run_id(self) -> str:
        return request_run_id(self.name, str(self.seed))

    def engine_run(self, step: str) -> str:
        return engine_run_name(self.name, RunKey(meta_run=self.run_id, step=step, attempt=1))

    async def run(self) -> RunView:
        draw = random.Random(self.seed)
        names = [f"s{i}" for i in range(COUNT)]
        steps: dict[str, object] = {}
        for i, name in enumerate(names):
            needs = [*names[i - 1 : i], *draw.sample(names[:i], min(i, draw.randint(0, 2)))]
            step: dict[str, object] = {"argo": {"manifest": "step.yaml"}, "needs": sorted(set(needs[i % 3 == 0 :]))}
            if draw.random() < 0.6:
                step["compensate"] = {"argo": {"manifest": "step.yaml"}}
                self.compensated.add(name)
            steps[name] = step
        cancels = draw.random() < 0.5
        if not cancels:
            self.stub.plans[self.engine_run(draw.choice(names[COUNT // 3 :]))] = ["Failed"]
        body = {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": self.name},
            "steps": steps,
            "finally": {"last": {"argo": {"manifest": "step.yaml"}}},
        }
        file = self.folder / f"{self.name}.yaml"
        file.write_text(json.dumps(body))
        started = await self.client.start(file, request_id=str(self.seed))
        assert started.id == self.run_id
        at = draw.randint(1, COUNT)
        async for run in self.client.watch(started.id):
            if cancels and sum(step.state is StepState.SUCCEEDED for step in run.steps) >= at:
                cancels = False
                await self.client.cancel(started.id)
        return await self.client.get(started.id)

    def check(self, run: RunView, created: list[str]) -> None:
        """Compare what the run says with what the engine has seen.

        Args:
            run: at its end.
            created: names of all workflows, in the order in which they were made.
        """
        undo = [step for step in run.steps if step.role is StepRole.COMPENSATION]
        ended = [step for step in run.steps if step.name in self.compensated and step.state is StepState.SUCCEEDED]
        if run.state is RunState.SUCCEEDED:
            ended = []
        assert {step.name for step in undo} == {f"compensate_{step.name}" for step in ended}
        times = {f"compensate_{step.name}": step.finished_at for step in ended}
        at = [when for step in undo if (when := times[step.name]) is not None]
        assert at == sorted(at, reverse=True), "in reverse order of their completion"
        assert all(step.state is StepState.SUCCEEDED and step.attempt == 1 for step in undo)
        wanted = [self.engine_run(step.name) for step in undo]
        known = {self.engine_run(f"compensate_s{i}") for i in range(COUNT)}
        assert [name for name in created if name in known] == wanted, "each once, and no other"
        keys = [
            RunKey.parse(text(run, "metadata", "annotations", ANNOTATION_KEY)) for run in self.stub.workflows.values()
        ]
        mine = sorted(key.step for key in keys if key is not None and key.meta_run == self.run_id)
        assert mine == sorted({*mine}), "no second run of anything, under any name"
        assert created.count(self.engine_run("last")) == 1


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_work_is_taken_back_once_and_in_order_although_the_worker_is_killed(tmp_path: Path) -> None:
    async with temporal_server() as temporal, rig(temporal, tmp_path) as service:
        with_stub = ArgoStub(duration=0.2)
        async with with_stub as stub, service.client() as client:
            await trials(temporal, stub, client, tmp_path)


async def trials(temporal: Client, stub: ArgoStub, client: MetaClient, folder: Path) -> None:
    (folder / "step.yaml").write_text(ARGO)
    config = folder / "meta.toml"
    address = temporal.service_client.config.target_host
    config.write_text(CONFIG.format(temporal=address, folder=folder, stub=stub.url))
    worker = ServerProcess([sys.executable, "-m", "meta.worker", "--config", str(config)], folder / "worker.log")
    await worker.start()
    made = [Trial(seed, stub, client, folder) for seed in range(10)]
    running = asyncio.gather(*(trial.run() for trial in made))
    try:
        for wanted in (40, 120, 240, 330):  # workflows, of some four hundred

            async def seen(count: int = wanted) -> bool:
                return len(stub.workflows) >= count or running.done()

            await eventually(seen, 200, f"{wanted} workflows")
            await worker.kill()
            await worker.start()
        runs = await running
    finally:
        running.cancel()
        await worker.stop()
    created = list(stub.workflows)
    assert all(stub.phase(name) in ENDED for name in created), "no engine run goes on"
    for trial, run in zip(made, runs, strict=True):
        trial.check(run, created)
    assert {run.state for run in runs} >= {RunState.FAILED, RunState.CANCELED}
