"""Running meta-runs survive a new version of their definition, and of this software."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from meta.client import MetaClient, RunView
from meta.processes import GuardedProcess, spawn
from tests.integration.service.servers import CHAIN, Rig, write_chain
from tests.integration.service.servers import rig as make_rig
from tests.stubs.argo import ArgoStub
from workflows.outcome import RunState, StepState

ROOT = Path(__file__).parents[3]
PACKAGES = ("workflows", "workers", "meta")
EDITED = CHAIN.replace("    needs: [prepare]\n", '    needs: [prepare]\n    when: "false"\n') + '  version: "two"\n'

TWO_VERSIONS = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: upgraded}
steps:
  before:
    when: "false"
    argo: {manifest: step.yaml}
  train:
    argo: {manifest: step.yaml}
  after:
    when: steps.train.state == 'failed'
    argo: {manifest: step.yaml}
  last:
    needs: [train]
    argo: {manifest: step.yaml}
"""


async def seen(client: MetaClient, run_id: str, condition: Callable[[RunView], bool]) -> RunView:
    async with asyncio.timeout(60):
        async for run in client.watch(run_id):
            if condition(run):
                return run
    raise AssertionError("the run ended before")


def state_of(run: RunView, name: str) -> StepState:
    return next(step.state for step in run.steps if step.name == name)


def message_of(run: RunView, name: str) -> str:
    return next(step.message for step in run.steps if step.name == name)


async def test_a_run_keeps_its_definition_when_a_new_version_is_published_and_the_next_run_has_that(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        first = await client.publish(rig.chain())
        started = await client.start("chain")
        await rig.engine.until(lambda: rig.engine.steps() == ["prepare"])
        second = await client.publish(rig.chain(EDITED))
        assert first.bundle_digest != second.bundle_digest
        rig.engine.finish("prepare")
        rig.engine.script.clear()
        async with asyncio.timeout(60):
            old = await client.wait(started.id)
            new = await client.wait((await client.start("chain")).id)
    # the edit is to a step that had not begun, and to the outputs, which are worked out last
    assert (old.state, state_of(old, "train"), old.outputs) == (RunState.SUCCEEDED, StepState.SUCCEEDED, {"rate": 1.0})
    assert (state_of(new, "train"), new.outputs) == (StepState.SKIPPED, {"rate": 1.0, "version": "two"})
    assert (old.bundle_digest, new.bundle_digest) == (first.bundle_digest, second.bundle_digest)


def version_a(folder: Path) -> Path:
    """A copy of the packages in another version: it says so where it skips a step."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "catalog"))
    file = folder / "workflows" / "resolve.py"
    text = file.read_text()
    assert 'f"when is false: {step.when}"' in text
    file.write_text(text.replace('f"when is false: {step.when}"', 'f"when is false, says version A: {step.when}"'))
    return folder


@asynccontextmanager
async def worker(code: Path, config: Path) -> AsyncGenerator[GuardedProcess]:
    """A worker process whose packages are those of a folder."""
    env = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    with config.with_suffix(f".{code.name}.log").open("wb") as log:
        command = [sys.executable, "-m", "meta.worker", "--config", str(config)]
        process = await spawn(command, env=env, cwd=code, stdout=log, stderr=log)
        try:
            yield process
        finally:
            await process.stop(0)


@pytest.mark.prove
async def test_a_run_begun_by_one_version_of_the_worker_is_finished_once_by_the_next(
    temporal: Client, tmp_path: Path
) -> None:
    old = version_a(tmp_path / "version-a")
    async with AsyncExitStack() as servers:
        argo = await servers.enter_async_context(ArgoStub(duration=None))
        rig = await servers.enter_async_context(make_rig(temporal, tmp_path))
        config = tmp_path / "meta.toml"
        config.write_text(
            f'[temporal]\naddress = "{rig.config.temporal.address}"\n[store]\nurl = "{rig.config.store.url}"\n'
            f'[engines.argo]\nkind = "argo"\nurl = "{argo.url}"\nresync = 1\n'
        )
        client = await servers.enter_async_context(rig.client())
        async with worker(old, config) as process:
            started = await client.start(write_chain(tmp_path / "chain", TWO_VERSIONS))
            await seen(client, started.id, lambda run: run.steps[1].run is not None)
            process.signal(signal.SIGTERM)
            assert await process.wait() == 0
        async with worker(ROOT, config):
            (train,) = argo.workflows
            argo.finish(train)
            await seen(client, started.id, lambda run: run.steps[3].run is not None)
            (last,) = set(argo.workflows) - {train}
            argo.finish(last)
            async with asyncio.timeout(60):
                ended = await client.wait(started.id)
    assert ended.state is RunState.SUCCEEDED, ended.message
    assert [(step.name, step.state, step.attempt) for step in ended.steps] == [
        ("before", StepState.SKIPPED, 0),
        ("train", StepState.SUCCEEDED, 1),
        ("after", StepState.SKIPPED, 0),
        ("last", StepState.SUCCEEDED, 1),
    ]
    assert message_of(ended, "before") == "when is false, says version A: false"
    assert message_of(ended, "after") == "when is false: steps.train.state == 'failed'"
    assert len(argo.workflows) == 2
