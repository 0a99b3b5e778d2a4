"""The copy as a step's workflow sees it: a real Temporal, two real S3 servers, a scripted engine."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle

from tests.integration.artifacts.conftest import PARTS, Lake, settings_of
from tests.support.objects import BUCKET
from tests.support.proxy import proxy
from tests.support.world import World, world
from workers.artifacts import ArtifactStore
from workers.artifacts.multipart import S3Uploads
from workers.artifacts.signing import Keys
from workers.artifacts.transfer import PART
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import Artifact, Outcome, RunState, StepState

ARGO = {"argo": {"manifest": "m.yaml"}}
CHAIN: dict[str, object] = {"make": ARGO, "use": {**ARGO, "artifacts": {"data": "${{ steps.make.artifacts.data }}"}}}


@asynccontextmanager
async def installation(objects: ArtifactStore, made: Artifact) -> AsyncGenerator[World]:
    """A chain's world, whose first step makes the artifact."""
    async with world(objects=objects) as w:
        w.engine.script["make"] = [Outcome(artifacts={"data": made})]
        yield w
    objects.close()


async def scheduled(handle: WorkflowHandle[object, RunSnapshot]) -> list[str]:
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in handle.fetch_history_events()
        if event.event_type is EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


def before_use(handle: WorkflowHandle[object, RunSnapshot]) -> RunKey:
    """What is told of the consumer before its first attempt stands under this."""
    return RunKey(meta_run=handle.id, step="use", attempt=0)


async def heartbeat(handle: WorkflowHandle[object, RunSnapshot]) -> dict[str, object]:
    """The last heartbeat of the copy, once there is one."""
    async with asyncio.timeout(60):
        while True:
            for pending in (await handle.describe()).raw_description.pending_activities:
                if pending.activity_type.name == "stage_artifacts" and pending.HasField("heartbeat_details"):
                    (details,) = pending.heartbeat_details.payloads
                    return json.loads(details.data)
            await asyncio.sleep(0.05)


async def test_a_consumer_gets_what_is_elsewhere_as_a_copy_where_its_engine_reads(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    artifact, data = large
    async with installation(lake.artifacts(), artifact) as w:
        handle = await w.start(CHAIN)
        run = await handle.result()
        assert run.state is RunState.SUCCEEDED
        passed = w.engine.submitted[1].artifacts["data"]
        assert passed.uri == f"{lake.staging}/sha256/{artifact.sha256}/model.npz"
        assert lake.read(passed.uri) == data
        assert (passed.sha256, passed.producer) == (artifact.sha256, "make")
        assert await scheduled(handle) == ["submit", "wait", "stage_artifacts", "submit", "wait"]
        assert run.steps[0].artifacts["data"].uri == artifact.uri, "the producer's stays what it is"
        (copied,) = w.store.work
        assert (copied.key, copied.what, copied.code) == (before_use(handle), "stage_artifacts", "")


async def test_what_the_engine_reads_is_passed_by_reference_without_an_activity_more(lake: Lake) -> None:
    uri = lake.server.put(f"lake/{uuid.uuid4().hex}", b"x")
    async with installation(lake.artifacts(), Artifact(name="data", uri=uri)) as w:
        handle = await w.start(CHAIN)
        await handle.result()
        assert w.engine.submitted[1].artifacts["data"].uri == uri
        assert await scheduled(handle) == ["submit", "wait", "submit", "wait"]
        assert w.store.work == [], "what goes well has its own records"


async def test_an_artifact_that_is_not_what_it_was_fails_the_step_before_its_engine_hears_of_it(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    wrong = large[0].model_copy(update={"sha256": "5" * 64})
    async with installation(lake.artifacts(), wrong) as w:
        handle = await w.start(CHAIN)
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert "when it was made; it was not copied" in str(caught.value.cause)
        assert w.engine.steps() == ["make"]
        assert w.engine.terminated == []
        (use,) = [step for step in w.store.snapshots[handle.id].steps if step.name == "use"]
        assert use.state is StepState.FAILED


async def test_a_store_that_is_down_delays_the_step_and_the_copy_goes_on_from_its_parts(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    artifact, data = large
    async with proxy(lake.server.endpoint) as link, installation(lake.artifacts(link.url), artifact) as w:
        link.break_after(5 * PART)
        handle = await w.start(CHAIN)
        await link.down.wait()
        await link.mend()
        run = await asyncio.wait_for(handle.result(), 120)
        assert run.state is RunState.SUCCEEDED
        assert lake.read(w.engine.submitted[1].artifacts["data"].uri) == data
        assert run.steps[1].attempt == 1, "it costs no attempt"
        *failed, copied = w.store.work
        assert {work.code for work in failed} <= {"ARTIFACT_STORE_UNAVAILABLE"}, "the client may ride it out by itself"
        assert (copied.code, copied.number) == ("", len(failed) + 1)


@pytest.mark.prove
async def test_a_copy_tells_how_far_it_is_and_a_cancelled_one_leaves_no_upload_and_no_run(
    lake: Lake, large: tuple[Artifact, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = large
    put, go_on = S3Uploads.put, asyncio.Event()

    async def put_slowly(self: S3Uploads, key: str, upload: str, number: int, part: bytes) -> object:
        if number == PARTS:
            await go_on.wait()
        return await put(self, key, upload, number, part)

    monkeypatch.setattr(S3Uploads, "put", put_slowly)
    async with installation(lake.artifacts(), artifact) as w:
        handle = await w.start(CHAIN)
        told = await heartbeat(handle)
        while told["bytes"] != (PARTS - 1) * PART:  # the last part waits
            told = await heartbeat(handle)
        assert (told["artifact"], told["of"]) == ("data", len(data))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert w.engine.steps() == ["make"]
        assert w.engine.terminated == []
        assert w.store.snapshots[handle.id].state is RunState.CANCELED
    key = f"{lake.staging}/sha256/{artifact.sha256}/model.npz".removeprefix(f"s3://{BUCKET}/")
    uploads = S3Uploads(settings_of(lake.server), BUCKET, Keys(lake.server.access_key, lake.server.secret_key))
    assert await uploads.find(key) is None
    uploads.close()
