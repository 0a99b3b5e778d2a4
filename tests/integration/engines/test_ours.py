"""Listing our own runs at an engine, and reading how one of them stands."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import SETTLE, TIMEOUT, argo_submission, key, kfp_submission
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.base import Engine, RunPhase
from workers.engines.kfp.engine import KfpEngine
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineUnavailable

PACKAGE = package(pipeline_spec())


@pytest_asyncio.fixture
async def argo_stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def kfp_stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def argo(argo_stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    settings = ArgoSettings(url=argo_stub.url, request_timeout=TIMEOUT, settle_delay=SETTLE)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def kfp(kfp_stub: KfpStub) -> AsyncIterator[KfpEngine]:
    settings = KfpSettings(url=kfp_stub.url, poll=0.05, request_timeout=TIMEOUT, settle_delay=SETTLE)
    engine = KfpEngine("kfp", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


async def listed(engine: Engine) -> dict[str, str]:
    """States of our runs that go on, by their keys."""
    return {run.key: run.state async for run in engine.list_ours()}


async def test_argo_lists_what_is_ours_and_goes_on(argo: ArgoEngine, argo_stub: ArgoStub) -> None:
    going, ended = key("going"), key("ended")
    ref = await argo.submit(argo_submission(run_key=going))
    other = await argo.submit(argo_submission(run_key=ended))
    argo_stub.workflows["theirs"] = {"metadata": {"name": "theirs", "uid": "u"}, "status": {"phase": "Running"}}
    argo_stub.finish(other.name)
    await eventually(lambda: argo_stub.phase(other.name) == "Succeeded", "one has ended")
    runs = [run async for run in argo.list_ours()]
    assert [(run.key, run.ref, run.state) for run in runs] == [(str(going), ref, "Running")]
    assert runs[0].created_at is not None


async def test_argo_asks_the_server_for_what_has_not_completed(argo: ArgoEngine, argo_stub: ArgoStub) -> None:
    ref = await argo.submit(argo_submission())
    labels = argo_stub.workflows[ref.name]["metadata"]
    assert isinstance(labels, dict) and isinstance(labels["labels"], dict)
    labels["labels"]["workflows.argoproj.io/completed"] = "false"
    assert await listed(argo) == {str(key()): "Running"}
    labels["labels"]["workflows.argoproj.io/completed"] = "true"
    assert await listed(argo) == {}


async def test_kfp_lists_what_is_ours_and_goes_on_over_many_pages(kfp: KfpEngine, kfp_stub: KfpStub) -> None:
    ref = await kfp.submit(kfp_submission(PACKAGE))
    mine = kfp_stub.runs[ref.uid]
    for number in range(230):
        kfp_stub.add_run({**mine, "display_name": f"copy-{number}"} if number % 2 else {"display_name": "theirs"})
    kfp_stub.add_run({**mine, "description": "by hand"})
    pending = kfp_stub.add_run(mine)
    kfp_stub.runs[pending]["state"] = "PENDING"
    ended = kfp_stub.add_run(mine)
    kfp_stub.runs[ended]["state"] = "FAILED"
    runs = [run async for run in kfp.list_ours()]
    assert {run.key for run in runs} == {str(key("train"))}
    assert len(runs) == len({run.ref.uid for run in runs}) == 117
    assert ended not in {run.ref.uid for run in runs}
    assert {run.state for run in runs if run.ref.uid == pending} == {"PENDING"}


async def test_how_one_workflow_stands(argo: ArgoEngine, argo_stub: ArgoStub) -> None:
    ref = await argo.submit(argo_submission())
    assert await argo.phase_of(ref) is RunPhase.RUNNING
    argo_stub.finish(ref.name, "Error")
    await eventually(lambda: argo_stub.phase(ref.name) == "Error", "it has ended")
    assert await argo.phase_of(ref) is RunPhase.FAILED
    argo_stub.delete(ref.name)
    await eventually(lambda: ref.name not in argo_stub.workflows, "it is deleted")
    assert await argo.phase_of(ref) is RunPhase.GONE
    argo_stub.faults.archive = True
    assert await argo.phase_of(ref) is RunPhase.FAILED
    again = await argo.submit(argo_submission())
    assert again.name == ref.name
    assert await argo.phase_of(ref) is RunPhase.FAILED, "another one of the same name is not it"


async def test_how_one_kfp_run_stands(kfp: KfpEngine, kfp_stub: KfpStub) -> None:
    ref = await kfp.submit(kfp_submission(PACKAGE))
    assert await kfp.phase_of(ref) is RunPhase.RUNNING
    kfp_stub.runs[ref.uid]["state"] = "SUCCEEDED"
    assert await kfp.phase_of(ref) is RunPhase.SUCCEEDED
    del kfp_stub.runs[ref.uid]
    assert await kfp.phase_of(ref) is RunPhase.GONE


async def test_an_engine_that_is_down_says_so(
    argo: ArgoEngine, argo_stub: ArgoStub, kfp: KfpEngine, kfp_stub: KfpStub
) -> None:
    argo_stub.faults.bursts = kfp_stub.faults.bursts = 10
    for engine in (argo, kfp):
        with pytest.raises(EngineUnavailable, match="503"):
            await listed(engine)


async def test_resuming_a_run_that_somebody_retried_does_not_retry_it_again(
    argo: ArgoEngine, argo_stub: ArgoStub, kfp: KfpEngine, kfp_stub: KfpStub
) -> None:
    on_argo = await argo.submit(argo_submission())
    on_kfp = await kfp.submit(kfp_submission(PACKAGE))
    assert await argo.resume(on_argo, key(attempt=2)) == on_argo
    assert await kfp.resume(on_kfp, key("train", 2)) == on_kfp
    assert argo_stub.requests["retry"] == kfp_stub.requests["retry"] == 0
