"""Ending and resuming KFP runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import SETTLE, TIMEOUT, Pulse, key, kfp_submission
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.kfp.engine import KfpEngine
from workers.settings import KfpSettings, StoreSettings
from workflows.errors import EngineRejected, EngineRunLost
from workflows.naming import engine_run_name
from workflows.outcome import FailureClass

PACKAGE = package(pipeline_spec())
KEY = key("train")
NAME = engine_run_name("chain", KEY)


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def engine(stub: KfpStub) -> AsyncIterator[KfpEngine]:
    settings = KfpSettings(url=stub.url, poll=0.05, request_timeout=TIMEOUT, settle_delay=SETTLE)
    engine = KfpEngine("kfp", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


async def test_terminate_returns_when_the_run_has_ended(engine: KfpEngine, stub: KfpStub) -> None:
    stub.ending = 0.5
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert await engine.terminate(KEY, NAME, ref)
    assert stub.state(ref.uid) == "FAILED"
    assert stub.requests["terminate"] == 1


@pytest.mark.parametrize("ends_as", ["FAILED", "CANCELED"])
async def test_a_terminated_run_is_cancelled_for_the_wait(engine: KfpEngine, stub: KfpStub, ends_as: str) -> None:
    stub.ends_as = ends_as
    ref = await engine.submit(kfp_submission(PACKAGE))
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.requests["get"] >= 1, "the wait has looked")
    await engine.terminate(KEY, NAME, ref)
    assert (await asyncio.wait_for(task, 10)).failure is FailureClass.CANCELLED


async def test_terminate_ends_every_run_of_the_key(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    second = stub.add_run(dict(stub.runs[ref.uid]))
    assert await engine.terminate(KEY, NAME, ref)
    assert (stub.state(ref.uid), stub.state(second)) == ("FAILED", "FAILED")


async def test_terminating_what_has_ended_is_a_success(engine: KfpEngine, stub: KfpStub) -> None:
    stub.duration = 0.0
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert await engine.terminate(KEY, NAME, ref)
    assert stub.state(ref.uid) == "SUCCEEDED"


async def test_terminate_covers_a_submission_in_flight(engine: KfpEngine, stub: KfpStub) -> None:
    task = asyncio.create_task(engine.terminate(KEY, NAME, None))
    await eventually(lambda: stub.requests["list"] >= 1, "terminate has looked")
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert await task
    assert stub.state(ref.uid) == "FAILED"


async def test_terminating_what_never_was_says_so(engine: KfpEngine) -> None:
    assert not await engine.terminate(KEY, NAME, None)


async def test_terminate_leaves_a_foreign_run_of_our_name_alone(engine: KfpEngine, stub: KfpStub) -> None:
    other = stub.add_run({"display_name": NAME, "description": "my own"})
    assert not await engine.terminate(KEY, NAME, None)
    assert stub.state(other) == "RUNNING"


async def test_resume_retries_in_place_and_the_wait_sees_the_new_end(engine: KfpEngine, stub: KfpStub) -> None:
    stub.duration = 0.2
    stub.plans[NAME] = ["FAILED", "SUCCEEDED"]
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert (await engine.wait(ref, Pulse())).failure is FailureClass.FAILED
    again = await engine.resume(ref, key("train", 2))
    assert again == ref
    assert (await asyncio.wait_for(engine.wait(again, Pulse()), 10)).succeeded


async def test_resuming_twice_with_one_key_retries_once(engine: KfpEngine, stub: KfpStub) -> None:
    stub.duration = 0.0
    stub.plans[NAME] = ["FAILED", "FAILED", "SUCCEEDED"]
    ref = await engine.submit(kfp_submission(PACKAGE))
    await engine.resume(ref, key("train", 2))
    await engine.resume(ref, key("train", 2))  # it failed again meanwhile; the key has had its retry
    assert stub.requests["retry"] == 1
    await engine.resume(ref, key("train", 3))
    assert stub.state(ref.uid) == "SUCCEEDED"


async def test_a_retry_that_took_effect_although_the_answer_was_500_is_not_sent_again(
    engine: KfpEngine, stub: KfpStub
) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    stub.finish(ref.uid, "FAILED")
    await eventually(lambda: stub.state(ref.uid) == "FAILED", "it has failed")
    stub.faults.lost_retries = 1
    await engine.resume(ref, key("train", 2))
    assert stub.state(ref.uid) == "RUNNING"
    assert stub.requests["retry"] == 1


async def test_a_retry_that_the_server_cannot_do_says_so_and_is_not_tried_for_ever(
    engine: KfpEngine, stub: KfpStub
) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    stub.finish(ref.uid, "FAILED")
    await eventually(lambda: stub.state(ref.uid) == "FAILED", "it has failed")
    stub.faults.refused_retries = 1
    with pytest.raises(EngineRejected, match="offloaded node status"):
        await engine.resume(ref, key("train", 2))


async def test_a_grace_is_not_waited_for_because_kfp_knows_no_stop(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert await engine.terminate(KEY, NAME, ref, grace=3600)
    assert stub.state(ref.uid) == "FAILED"


async def test_another_process_waits_for_the_end_that_one_has_asked_for(engine: KfpEngine, stub: KfpStub) -> None:
    stub.ending = 0.5
    ref = await engine.submit(kfp_submission(PACKAGE))
    first = asyncio.create_task(engine.terminate(KEY, NAME, ref))
    await eventually(lambda: stub.state(ref.uid) == "CANCELING", "it is ending")
    assert await engine.terminate(KEY, NAME, ref)
    assert await first
    assert stub.requests["terminate"] == 1


async def test_a_run_that_is_gone_cannot_be_resumed(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    del stub.runs[ref.uid]
    with pytest.raises(EngineRunLost, match="is gone"):
        await engine.resume(ref, key("train", 2))
