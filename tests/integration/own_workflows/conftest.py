"""A user's side: his client, his files and his worker, beside the service and its engines."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from meta.temporal import MetaPlugin, activities, calls
from tests.integration.own_workflows.flows import TASK_QUEUE, WORKFLOWS, client_of
from tests.integration.service.servers import Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.engine import ScriptedEngine
from workers.artifacts import file_uri
from workflows.outcome import Artifact, EngineKind, FailureClass, Outcome

MANIFEST = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: step-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: rate, value: "1"}]}
  templates:
    - name: main
      container: {image: "busybox:1.36", command: [echo]}
      outputs:
        parameters: [{name: rows, valueFrom: {path: /tmp/rows}}]
        artifacts: [{name: dataset, path: /tmp/data}]
"""


@dataclass
class Theirs:
    """A user's side: his client and files, beside the service and its engines."""

    rig: Rig
    client: Client
    kfp: ScriptedEngine
    files: Path
    prepared: Outcome

    @property
    def argo(self) -> ScriptedEngine:
        return self.rig.engine

    def plugin(self) -> MetaPlugin:
        return MetaPlugin(self.rig.address, files=self.files, patience_s=1)

    def worker(self, workflows: Sequence[type] = WORKFLOWS) -> Worker:
        return Worker(self.client, task_queue=TASK_QUEUE, workflows=workflows)

    async def start(self, workflow: Callable[..., Awaitable[Any]], *arguments: object) -> WorkflowHandle[Any, Any]:
        name = workflow.__qualname__.partition(".")[0]
        return await self.client.start_workflow(
            name, args=arguments, id=f"theirs-{uuid.uuid4().hex[:8]}", task_queue=TASK_QUEUE
        )


@pytest.fixture
async def theirs(temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Theirs]:
    monkeypatch.setattr(calls, "HEARTBEAT_TIMEOUT", timedelta(seconds=5))
    monkeypatch.setattr(activities, "BEAT_S", 0.2)
    data = tmp_path / "object"
    data.write_bytes(b"an artifact")
    files = tmp_path / "manifests"
    files.mkdir()
    for name in ("prepare", "broken"):
        (files / f"{name}.yaml").write_text(MANIFEST)
    dataset = Artifact(name="dataset", uri=file_uri(str(data)), sha256=hashlib.sha256(b"an artifact").hexdigest())
    prepared = Outcome(outputs={"rows": "12"}, artifacts={"dataset": dataset})
    async with make_rig(temporal, tmp_path) as rig:
        rig.engine.script = {
            "prepare": [prepared],
            "broken": [Outcome(failure=FailureClass.FAILED, message="no disk")],
        }
        kfp = ScriptedEngine("kfp", EngineKind.KFP, {"train": [Outcome(outputs={"accuracy": 0.93})]})
        await rig.work({"argo": rig.engine, "kfp": kfp})
        plugin = MetaPlugin(rig.address, files=files, patience_s=1)
        client = await client_of(temporal.service_client.config.target_host, plugin)
        yield Theirs(rig, client, kfp, files, prepared)
        await kfp.close()
