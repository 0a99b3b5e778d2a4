"""Waiting on Argo: one watch for all waits, which no break makes blind."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import Pulse, argo_submission, key
from tests.stubs.argo import ArgoStub
from workers.artifacts import ArtifactStore
from workers.engines import waiting
from workers.engines.argo import last_lines
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import text
from workers.settings import ArgoSettings, StoreSettings
from workflows.outcome import MAX_LOG_LINES, EngineRunRef, FailureClass, Outcome
from workflows.values import JsonObject


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None, keepalive=0.1) as stub:
        yield stub


@pytest_asyncio.fixture
async def engine(stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    settings = ArgoSettings(url=stub.url, settle_delay=0.3, watch_timeout=2.0, resync=60.0)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


async def waiting_for(
    engine: ArgoEngine, stub: ArgoStub, *, attempt: int = 1
) -> tuple[EngineRunRef, asyncio.Task[Outcome]]:
    """Submit a workflow and wait for it, with the watch open."""
    ref = await engine.submit(argo_submission(run_key=key(attempt=attempt)))
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.watchers == 1, "the watch is open")
    return ref, task


async def ended(task: asyncio.Task[Outcome]) -> Outcome:
    return await asyncio.wait_for(task, 10)


async def test_a_finished_workflow_is_read_at_once_without_a_watch(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.duration = 0.0
    ref = await engine.submit(argo_submission())
    outcome = await engine.wait(ref, Pulse())
    assert outcome.succeeded
    assert outcome.finished_at is not None
    assert stub.requests["watch"] == 0


async def test_a_wait_ends_on_the_watchs_event(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name)
    assert (await ended(task)).succeeded


async def test_many_waits_share_one_watch_and_one_list(engine: ArgoEngine, stub: ArgoStub) -> None:
    refs = [await engine.submit(argo_submission(run_key=key(attempt=n))) for n in range(1, 31)]
    tasks = [asyncio.create_task(engine.wait(ref, Pulse())) for ref in refs]
    await eventually(lambda: stub.watchers == 1, "the watch is open")
    for ref in refs:
        stub.finish(ref.name)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert all(outcome.succeeded for outcome in outcomes)
    assert stub.requests["watch"] == 1
    assert stub.requests["list"] == 1


async def test_a_cut_watch_is_opened_again(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref, task = await waiting_for(engine, stub)
    stub.cut_watches()
    await eventually(lambda: stub.requests["watch"] >= 2 and stub.watchers == 1, "the watch is open again")
    stub.finish(ref.name)
    assert (await ended(task)).succeeded


async def test_what_ended_while_the_watch_was_cut_is_found_by_the_list(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref, task = await waiting_for(engine, stub)
    stub.faults.stale_watches = 3
    stub.cut_watches()
    stub.finish(ref.name)
    assert (await ended(task)).succeeded


@pytest.mark.parametrize(("refusals", "status"), [(0, 400), (2, 400), (2, 410)])
async def test_a_version_too_old_is_no_end(engine: ArgoEngine, stub: ArgoStub, refusals: int, status: int) -> None:
    """The server says it inside the stream, or with 400 or 410 when a watch begins."""
    ref, task = await waiting_for(engine, stub)
    stub.faults.stale_watches = refusals
    stub.faults.stale_status = status
    stub.send_error("too old resource version")
    await eventually(lambda: stub.requests["watch"] >= 2 and stub.watchers == 1, "the watch is open again")
    stub.finish(ref.name)
    assert (await ended(task)).succeeded


async def test_what_ends_between_the_list_and_the_watch_is_not_lost(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    ended_there: list[str] = []

    def end_it() -> None:
        if not ended_there:
            stub._finish(ref.name, "Succeeded", "")  # pyright: ignore[reportPrivateUsage] -- at once, on the stub's loop
            ended_there.append(ref.name)

    stub.before_watch = end_it
    outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 10)
    assert outcome.succeeded
    assert ended_there
    assert stub.requests["list"] == 1


async def test_what_ends_right_after_the_first_look_is_not_lost(engine: ArgoEngine, stub: ArgoStub) -> None:
    """The watch is open already, so no list comes after it that would tell."""
    other, _ = await waiting_for(engine, stub)
    ref = await engine.submit(argo_submission(run_key=key(attempt=2)))
    lists, reads = stub.requests["list"], stub.requests["get"]
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.requests["get"] > reads, "the wait has looked")
    stub.finish(ref.name)
    assert (await ended(task)).succeeded
    assert stub.requests["list"] == lists
    assert stub.phase(other.name) == "Running"


async def test_a_wait_reads_its_run_once_before_it_ends_and_once_after(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    reads = stub.requests["get"]
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.watchers == 1, "the watch is open")
    stub.finish(ref.name)
    assert (await ended(task)).succeeded
    assert stub.requests["get"] == reads + 2


async def test_two_workers_each_with_a_watch_see_the_ends_of_their_own_waits(stub: ArgoStub) -> None:
    settings = ArgoSettings(url=stub.url)
    workers = [ArgoEngine("argo", settings, ArtifactStore(StoreSettings())) for _ in range(2)]
    refs = [await workers[0].submit(argo_submission(run_key=key(attempt=n))) for n in range(1, 11)]
    # Each waits for its half, and both for the last one: a wait that was taken over while its first worker still lives.
    shares = [refs[:5] + refs[-1:], refs[5:]]
    tasks = [
        asyncio.create_task(worker.wait(ref, Pulse()))
        for worker, share in zip(workers, shares, strict=True)
        for ref in share
    ]
    await eventually(lambda: stub.watchers == 2, "both watches are open")
    for ref in refs:
        stub.finish(ref.name)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert all(outcome.succeeded for outcome in outcomes)
    assert stub.requests["watch"] == 2
    for worker in workers:
        await worker.close()


async def test_a_silent_watch_is_left_by_the_read_time_out(stub: ArgoStub) -> None:
    stub.keepalive = 60.0
    settings = ArgoSettings(url=stub.url, watch_timeout=0.3)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    _, task = await waiting_for(engine, stub)
    await eventually(lambda: stub.requests["watch"] >= 2, "the watch is opened again")
    task.cancel()
    await engine.close()


async def test_the_resync_finds_what_no_event_told(stub: ArgoStub) -> None:
    engine = ArgoEngine("argo", ArgoSettings(url=stub.url, resync=0.3), ArtifactStore(StoreSettings()))
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name, silently=True)
    assert (await ended(task)).succeeded
    await engine.close()


async def test_a_list_that_takes_too_long_does_not_blind_the_resync(stub: ArgoStub) -> None:
    settings = ArgoSettings(url=stub.url, request_timeout=0.3, resync=0.2)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    stub.faults.slow_lists = 1.0
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name, silently=True)
    assert (await ended(task)).succeeded
    await engine.close()


async def test_a_workflow_that_was_deleted_before_it_was_read_comes_from_the_archive(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.faults.archive = stub.faults.delete_at_end = True
    stub.status = lambda workflow: {"outputs": {"parameters": [{"name": "rows", "value": "7"}]}}
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name)
    outcome = await ended(task)
    assert outcome.succeeded
    assert outcome.outputs == {"rows": "7"}


async def test_a_workflow_that_was_deleted_without_an_archive_is_lost_not_failed(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.faults.delete_at_end = True
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name)
    outcome = await ended(task)
    assert outcome.failure is FailureClass.LOST
    assert "deleted before its result was read" in outcome.message


async def test_another_workflow_of_the_same_name_is_not_taken_for_ours(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name)
    outcome = await engine.wait(ref.model_copy(update={"uid": "another"}), Pulse())
    assert outcome.failure is FailureClass.LOST


async def test_a_failed_workflow_tells_its_message_and_that_of_its_pods(engine: ArgoEngine, stub: ArgoStub) -> None:
    def status(workflow: JsonObject) -> JsonObject:
        pod: JsonObject = {
            "type": "Pod",
            "displayName": "split",
            "phase": "Failed",
            "message": "Error (exit code 3)",
            "outputs": {"exitCode": "3"},
        }
        return {"nodes": {"pod-1": pod}}

    stub.status = status
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name, "Failed", "child 'x' failed")
    outcome = await ended(task)
    assert outcome.failure is FailureClass.FAILED
    assert outcome.message == "child 'x' failed\nsplit: Error (exit code 3)"
    assert [node.exit_code for node in outcome.failed_nodes] == [3]


def failed_pods(count: int) -> Callable[[JsonObject], JsonObject]:
    """A status with pods that failed one after the other."""

    def status(workflow: JsonObject) -> JsonObject:
        name = text(workflow, "metadata", "name")
        nodes: JsonObject = {
            f"{name}-{i}": {
                "type": "Pod",
                "displayName": f"item({i})",
                "templateName": "item",
                "phase": "Failed",
                "message": "Error (exit code 1)",
                "finishedAt": f"2024-01-01T00:00:{i:02d}Z",
            }
            for i in range(count)
        }
        return {"nodes": nodes}

    return status


async def test_a_failed_workflow_keeps_the_last_lines_of_its_first_failed_pods(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.status = failed_pods(8)
    ref, task = await waiting_for(engine, stub)
    stub.log_lines[ref.name] = [(f"{ref.name}-item-{i}", f"{i}: line {line}") for line in range(30) for i in range(8)]
    stub.finish(ref.name, "Failed", "child failed")
    outcome = await ended(task)
    assert [node.name for node in outcome.failed_nodes] == [f"item({i})" for i in range(8)]
    for i, node in enumerate(outcome.failed_nodes):
        expected = [f"{i}: line {line}" for line in range(30 - MAX_LOG_LINES, 30)] if i < last_lines.PODS else []
        assert node.log == expected
    assert stub.requests["log"] == last_lines.PODS


async def test_an_outcome_does_not_wait_for_logs_that_do_not_come(
    engine: ArgoEngine, stub: ArgoStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_lines, "PATIENCE", 0.2)
    stub.status = failed_pods(2)
    stub.faults.silent_logs = 60
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.name, "Failed", "child failed")
    outcome = await ended(task)
    assert outcome.failure is FailureClass.FAILED
    assert [node.log for node in outcome.failed_nodes] == [[], []]
    assert stub.requests["log"] == 2


async def test_a_log_that_is_none_leaves_the_outcome_as_it_is(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.status = failed_pods(1)
    ref, task = await waiting_for(engine, stub)
    stub.log_lines[ref.name] = [(f"{ref.name}-item-0", "\ud800\x00\x1b[31mred\x1b[0m")]
    stub.finish(ref.name, "Failed", "child failed")
    outcome = await ended(task)
    assert outcome.failed_nodes[0].log == ["red"]
    assert outcome.model_dump_json()


async def test_artifacts_carry_digest_and_size_of_their_objects(stub: ArgoStub, tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(b"numbers")

    class LocalStore(ArtifactStore):
        """Finds the bucket's objects in a folder."""

        async def stat(self, uri: str, *, digest: bool = True):
            return await super().stat(uri.replace("s3://bucket", tmp_path.as_uri()), digest=digest)

    stub.duration = 0.0
    artifact: JsonObject = {"name": "dataset", "s3": {"key": "data.npz"}}
    stub.status = lambda workflow: {
        "outputs": {"artifacts": [artifact]},
        "artifactRepositoryRef": {"artifactRepository": {"s3": {"bucket": "bucket"}}},
    }
    engine = ArgoEngine("argo", ArgoSettings(url=stub.url), LocalStore(StoreSettings()))
    outcome = await engine.wait(await engine.submit(argo_submission()), Pulse())
    found = outcome.artifacts["dataset"]
    assert found.uri == "s3://bucket/data.npz"
    assert (found.size, found.sha256) == (7, hashlib.sha256(b"numbers").hexdigest())
    await engine.close()


async def test_a_wait_gives_signs_of_life(engine: ArgoEngine, stub: ArgoStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ALIVE", 0.05)
    pulse = Pulse()
    ref = await engine.submit(argo_submission())
    task = asyncio.create_task(engine.wait(ref, pulse))
    await eventually(lambda: pulse.beats >= 10, "ten signs of life")
    task.cancel()


async def test_a_wait_bears_a_burst_of_503(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name)
    stub.faults.bursts = 2
    assert (await asyncio.wait_for(engine.wait(ref, Pulse()), 10)).succeeded


async def test_a_wait_says_so_when_the_api_stays_down(
    engine: ArgoEngine, stub: ArgoStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    ref = await engine.submit(argo_submission())
    stub.faults.bursts = 1000
    with pytest.raises(waiting.EngineUnavailable):
        await engine.wait(ref, Pulse())


async def test_cancelling_a_wait_leaves_the_workflow_alone(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref, task = await waiting_for(engine, stub)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stub.phase(ref.name) == "Running"
    assert stub.requests["terminate"] == 0


async def test_logs_are_told_by_the_nodes_names(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.duration = 0.0
    stub.status = lambda workflow: {"nodes": {"x-123": {"displayName": "split", "type": "Pod"}}}
    ref = await engine.submit(argo_submission())
    stub.log_lines[ref.name] = [("x-main-123", "hello"), ("x-main-9", "world")]
    lines = [(line.node, line.text) async for line in engine.logs(ref)]
    assert lines == [("split", "hello"), ("x-main-9", "world")]


async def test_followed_logs_end_with_the_workflow(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.log_lines[ref.name] = [("pod", "hello")]
    lines: list[str] = []
    async for line in engine.logs(ref, follow=True):
        lines.append(line.text)
        stub.finish(ref.name)
    assert lines == ["hello"]


async def test_a_reader_that_leaves_ends_the_log_stream(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.log_lines[ref.name] = [("pod", f"line {n}") for n in range(3000)]  # more than is read ahead
    stream = engine.logs(ref, follow=True)
    assert (await anext(stream)).text == "line 0"
    await stream.aclose()
    await eventually(lambda: f"logs-{ref.name}" not in {t.name for t in threading.enumerate()}, "the thread has ended")


async def test_the_logs_of_a_server_that_is_down_are_unavailable(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.faults.bursts = 2
    with pytest.raises(waiting.EngineUnavailable):
        _ = [line async for line in engine.logs(ref)]
