"""The Python blocks of the README run: a real Temporal, NATS and our service, with scripted engines for real ones."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meta.client import MetaClient, RunView
from meta.config import DEFAULT_GRPC
from meta.stack.names import DEFAULT_PORTS, PortName
from tests.docs.pages import HERE, ROOT, snippets
from tests.integration.service.servers import Rig, nats_server
from tests.integration.service.servers import rig as make_rig
from tests.support.engine import ScriptedEngine
from tests.support.temporal import temporal_server
from workers.activities import Activities
from workers.artifacts import ArtifactStore, file_uri
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.outcome import Artifact, EngineKind, Outcome, RunState

NATS = f"nats://127.0.0.1:{DEFAULT_PORTS[PortName.NATS]}"
CHAIN = "workflows/catalog/hybrid-training/workflow.yaml"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    """The service, whose engines answer as the chain's runs would."""
    data = tmp_path / "object"
    data.write_bytes(b"an artifact")
    made = {name: Artifact(name=name, uri=file_uri(str(data))) for name in ("dataset", "model")}
    script: dict[str, list[Outcome | None]] = {
        "prepare": [Outcome(outputs={"train_rows": "3", "held_out_rows": "1"}, artifacts={"dataset": made["dataset"]})],
        "train": [Outcome(artifacts={"model": made["model"]})],
        "evaluate": [Outcome(outputs={"accuracy": 0.97})],
        "deploy": [Outcome(outputs={"version": "abc", "accuracy": "0.97"})],
    }
    engines = {
        "argo": ScriptedEngine(script=script),
        "kfp": ScriptedEngine(name="kfp", kind=EngineKind.KFP, script=script),
    }
    async with (
        temporal_server() as temporal,
        nats_server(tmp_path / "nats") as nats,
        make_rig(temporal, tmp_path, nats.url) as rig,
    ):
        await register_search_attributes(temporal)
        activities = Activities(
            engines=engines, objects=ArtifactStore(StoreSettings()), bundles=rig.store, recorder=rig.store
        )
        async with run_workers(temporal, activities, Sizes(shutdown_grace_s=0.1)):
            yield rig


async def run(program: str) -> str:
    """Run a block as a program of its own, as its reader would; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def the_run(client: MetaClient) -> RunView:
    """The only run there is, once it has ended."""
    async with asyncio.timeout(30):
        while not (found := (await client.list()).runs):
            await asyncio.sleep(0.05)
    assert len(found) == 1
    return await client.wait(found[0].id)


def test_these_are_all_python_blocks() -> None:
    assert [one.page for one in snippets("python")] == ["README.md", "README.md"]
    assert all(ast.parse(one.text) for one in snippets("python", pages=HERE))


async def test_the_block_on_the_sdk_runs_the_chain_of_the_catalogue(rig: Rig) -> None:
    block = snippets("python")[0].text
    assert f'"{DEFAULT_GRPC}"' in block
    printed = await run(block.replace(DEFAULT_GRPC, rig.address))
    assert re.search(r"http://ui.test/\S+/hybrid-training-\w+", printed)
    assert "accuracy 0.97" in printed
    async with rig.client() as client:
        ended = await the_run(client)
    assert ended.state is RunState.SUCCEEDED
    assert ended.inputs["learning_rate"] == 0.02


async def test_the_block_on_messages_starts_the_published_chain_once(rig: Rig) -> None:
    assert any(f"meta publish {CHAIN}" in one.commands for one in snippets("console", pages=("README.md",)))
    block = snippets("python")[1].text
    assert f'"{NATS}"' in block
    assert rig.service.triggers is not None
    async with rig.client() as client:
        await client.publish(ROOT / CHAIN)
        async with asyncio.timeout(30):
            await rig.service.triggers.ready.wait()
        for _ in range(2):
            await run(block.replace(NATS, rig.config.nats.url))
        ended = await the_run(client)
    assert ended.state is RunState.SUCCEEDED, ended.message
    assert ended.inputs["learning_rate"] == 0.03
    assert ended.trigger == "nats"
