"""Ending and resuming Argo workflows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import SETTLE, TIMEOUT, Pulse, argo_submission, key
from tests.stubs.argo import ArgoStub
from workers.artifacts import ArtifactStore
from workers.engines import ending
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import child
from workers.settings import ArgoSettings, StoreSettings
from workflows.errors import EngineRejected, EngineRunLost, EngineUnavailable
from workflows.naming import engine_run_name
from workflows.outcome import FailureClass
from workflows.values import JsonObject

NAME = engine_run_name("chain", key())


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def engine(stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    settings = ArgoSettings(url=stub.url, request_timeout=TIMEOUT, settle_delay=SETTLE)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


async def test_terminate_returns_when_the_workflow_has_ended(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.ending = 0.5
    ref = await engine.submit(argo_submission())
    assert await engine.terminate(key(), NAME, ref)
    assert stub.phase(ref.name) == "Failed"


async def test_a_terminated_workflow_is_cancelled_for_the_wait(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.watchers == 1, "the watch is open")
    await engine.terminate(key(), NAME, ref)
    outcome = await asyncio.wait_for(task, 10)
    assert outcome.failure is FailureClass.CANCELLED
    assert "Stopped with strategy 'Terminate'" in outcome.message


async def test_terminating_what_has_ended_is_a_success(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.duration = 0.0
    ref = await engine.submit(argo_submission())
    assert await engine.terminate(key(), NAME, ref)
    assert stub.phase(ref.name) == "Succeeded"
    assert stub.requests["terminate"] == 0


async def test_terminate_covers_a_submission_in_flight(engine: ArgoEngine, stub: ArgoStub) -> None:
    task = asyncio.create_task(engine.terminate(key(), NAME, None))
    await eventually(lambda: stub.requests["get"] >= 1, "terminate has looked")
    ref = await engine.submit(argo_submission())
    assert await task
    assert stub.phase(ref.name) == "Failed"


async def test_terminating_what_never_was_says_so(engine: ArgoEngine) -> None:
    assert not await engine.terminate(key(), NAME, None)


async def test_terminate_leaves_a_foreign_workflow_of_our_name_alone(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    assert not await engine.terminate(key(attempt=2), ref.name, None)
    assert stub.phase(ref.name) == "Running"


async def test_terminate_finds_a_resumed_run_by_its_reference(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    later = key(attempt=2)
    assert await engine.terminate(later, engine_run_name("chain", later), ref)
    assert stub.phase(ref.name) == "Failed"


async def test_with_a_grace_a_workflow_is_stopped_so_that_its_exit_handlers_run(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.stopping = 0.3
    ref = await engine.submit(argo_submission())
    assert await engine.terminate(key(), NAME, ref, grace=60)
    assert (stub.requests["stop"], stub.requests["terminate"]) == (1, 0)
    outcome = await engine.wait(ref, Pulse())
    assert outcome.failure is FailureClass.CANCELLED
    assert "Stopped with strategy 'Stop'" in outcome.message


async def test_a_workflow_that_does_not_stop_within_its_grace_is_terminated(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.stopping = None
    ref = await engine.submit(argo_submission())
    assert await engine.terminate(key(), NAME, ref, grace=0.5)
    assert (stub.requests["stop"], stub.requests["terminate"]) == (1, 1)
    assert child(stub.workflows[NAME], "spec")["shutdown"] == "Terminate"


async def test_another_process_goes_on_where_one_stopped_and_does_not_take_a_terminate_back(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.stopping, stub.ending = None, 0.5
    ref = await engine.submit(argo_submission())
    first = asyncio.create_task(engine.terminate(key(), NAME, ref))
    await eventually(lambda: stub.requests["terminate"] == 1, "it was told to terminate")
    assert await engine.terminate(key(), NAME, ref, grace=60)
    assert await first
    assert stub.requests["stop"] == 0


async def test_a_workflow_that_ends_while_it_is_told_to_is_a_success(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    get = engine._client.get  # pyright: ignore[reportPrivateUsage] -- the moment between a look and a word

    async def late(name: str, *, fields: str = "") -> JsonObject | None:
        seen = await get(name, fields=fields)
        stub.finish(ref.name)
        await eventually(lambda: stub.phase(ref.name) == "Succeeded", "it has ended meanwhile")
        return seen

    engine._client.get = late  # pyright: ignore[reportPrivateUsage] -- see above
    assert await engine.terminate(key(), NAME, ref)
    assert stub.requests["terminate"] == 1
    assert stub.phase(ref.name) == "Succeeded"


async def test_a_refusal_to_end_is_not_the_end_of_it(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.faults.refused_ends = 2
    ref = await engine.submit(argo_submission())
    assert await engine.terminate(key(), NAME, ref)
    assert stub.requests["terminate"] == 3
    assert stub.phase(ref.name) == "Failed"


async def test_a_workflow_that_does_not_end_is_reported_with_what_the_server_says(
    engine: ArgoEngine, stub: ArgoStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "CONFIRM", 0.3)
    stub.faults.refused_ends = 1000
    ref = await engine.submit(argo_submission())
    with pytest.raises(EngineUnavailable, match=r"still running after .*forbidden") as caught:
        await engine.terminate(key(), NAME, ref)
    assert caught.value.retryable


async def test_resume_retries_in_place_and_the_wait_sees_the_new_end(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.duration = 0.2
    stub.plans[NAME] = ["Failed", "Succeeded"]
    ref = await engine.submit(argo_submission())
    assert (await engine.wait(ref, Pulse())).failure is FailureClass.FAILED
    again = await engine.resume(ref, key(attempt=2))
    assert again == ref
    assert (await asyncio.wait_for(engine.wait(again, Pulse()), 10)).succeeded


async def test_resuming_twice_with_one_key_retries_once(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.duration = 0.0
    stub.plans[NAME] = ["Failed", "Failed", "Succeeded"]
    ref = await engine.submit(argo_submission())
    await engine.resume(ref, key(attempt=2))
    await engine.resume(ref, key(attempt=2))  # it failed again meanwhile; the key has had its retry
    assert stub.requests["retry"] == 1
    assert stub.phase(ref.name) == "Failed"
    await engine.resume(ref, key(attempt=3))
    assert stub.phase(ref.name) == "Succeeded"


async def test_a_retry_whose_answer_was_lost_is_not_sent_again(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name, "Failed")
    await eventually(lambda: stub.phase(ref.name) == "Failed", "it has failed")
    stub.faults.lost_retries = 1
    await engine.resume(ref, key(attempt=2))
    assert stub.phase(ref.name) == "Running"
    assert stub.requests["retry"] == 1


async def test_a_retry_that_meets_another_write_is_tried_again(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name, "Failed")
    await eventually(lambda: stub.phase(ref.name) == "Failed", "it has failed")
    stub.faults.retry_conflicts = 1
    with pytest.raises(EngineUnavailable, match="has been modified"):
        await engine.resume(ref, key(attempt=2))
    await engine.resume(ref, key(attempt=2))
    assert stub.phase(ref.name) == "Running"


async def test_a_retry_that_is_refused_says_so_and_is_not_tried_for_ever(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name, "Failed")
    await eventually(lambda: stub.phase(ref.name) == "Failed", "it has failed")
    stub.faults.refused_retries = 1
    with pytest.raises(EngineRejected, match="Cannot retry workflow"):
        await engine.resume(ref, key(attempt=2))


async def test_a_run_that_is_gone_cannot_be_resumed(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.delete(ref.name)
    await eventually(lambda: ref.name not in stub.workflows, "it is deleted")
    with pytest.raises(EngineRunLost, match="is gone"):
        await engine.resume(ref, key(attempt=2))
