"""Waiting on KFP: one list a tick for all waits, results from ML Metadata or over REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import Pulse, key, kfp_submission
from tests.stubs.kfp import KfpStub
from tests.stubs.metadata import serve_metadata
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.engine import KfpEngine
from workers.engines.kfp.watcher import KfpWatcher
from workers.settings import KfpSettings, StoreSettings
from workflows.errors import EngineRejected
from workflows.outcome import EngineRunRef, FailureClass, Outcome
from workflows.values import JsonObject, JsonValue

PLAIN = package(pipeline_spec())
WITH_OUTPUTS = package(
    pipeline_spec(
        outputs={"accuracy": "NUMBER_DOUBLE", "rows": "NUMBER_INTEGER"}, artifacts={"metrics": "system.Metrics"}
    )
)


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


def engine_at(stub: KfpStub, **settings: object) -> KfpEngine:
    values = {"url": stub.url, "poll": 0.05, "settle_delay": 0.3, **settings}
    return KfpEngine("kfp", KfpSettings.model_validate(values), ArtifactStore(StoreSettings()))


@pytest_asyncio.fixture
async def engine(stub: KfpStub) -> AsyncIterator[KfpEngine]:
    engine = engine_at(stub)
    yield engine
    await engine.close()


async def waiting_for(engine: KfpEngine, stub: KfpStub) -> tuple[EngineRunRef, asyncio.Task[Outcome]]:
    """Submit a run and wait for it, with the watcher at work."""
    ref = await engine.submit(kfp_submission(PLAIN))
    lists = stub.requests["list"]
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.requests["list"] > lists, "the watcher has listed")
    return ref, task


async def ended(task: asyncio.Task[Outcome]) -> Outcome:
    return await asyncio.wait_for(task, 10)


async def test_a_finished_run_is_read_at_once(engine: KfpEngine, stub: KfpStub) -> None:
    stub.duration = 0.0
    ref = await engine.submit(kfp_submission(PLAIN))
    lists = stub.requests["list"]
    assert (await engine.wait(ref, Pulse())).succeeded
    assert stub.requests["list"] == lists + 1  # one look at the name for runs beside it; the watcher asked nothing


async def test_a_wait_ends_when_the_list_shows_the_end(engine: KfpEngine, stub: KfpStub) -> None:
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.uid)
    outcome = await ended(task)
    assert outcome.succeeded
    assert outcome.finished_at is not None


async def requests_of_ten_ticks(count: int) -> tuple[int, int]:
    """Lists and reads while so many runs are waited for and none ends."""
    async with KfpStub(duration=None) as stub:
        engine = engine_at(stub, poll=0.05, poll_slowest=0.05, resync=3600.0, settle_delay=600.0)
        first = await engine.submit(kfp_submission(PLAIN))
        run = stub.runs[first.uid]
        refs = [first] + [first.model_copy(update={"uid": stub.add_run(run)}) for _ in range(count - 1)]
        reads = stub.requests["get"]
        tasks = [asyncio.create_task(engine.wait(ref, Pulse())) for ref in refs]
        await eventually(lambda: stub.requests["get"] >= reads + count, "all waits have looked", timeout=60)
        reads, lists = stub.requests["get"], stub.requests["list"]
        began = asyncio.get_running_loop().time()
        await eventually(lambda: stub.requests["list"] >= lists + 10, "ten ticks have gone by", timeout=60)
        ticks = (asyncio.get_running_loop().time() - began) / 0.05
        found = (stub.requests["list"] - lists, stub.requests["get"] - reads)
        assert found[0] <= ticks * 1.2 + 2
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await engine.close()
        return found


async def test_requests_do_not_grow_with_the_number_of_waits() -> None:
    few, many = await requests_of_ten_ticks(50), await requests_of_ten_ticks(500)
    assert few[1] == many[1] == 0
    assert abs(few[0] - many[0]) <= 2


async def test_the_looks_beside_many_runs_share_their_lists(stub: KfpStub) -> None:
    engine = engine_at(stub, poll=3600.0, poll_slowest=3600.0, resync=3600.0, settle_delay=1.0)
    first = await engine.submit(kfp_submission(PLAIN))
    run = stub.runs[first.uid]
    refs = [
        first.model_copy(update={"uid": stub.add_run({**run, "display_name": f"r{n}"}), "name": f"r{n}"})
        for n in range(150)
    ]
    lists, reads = stub.requests["list"], stub.requests["get"]
    tasks = [asyncio.create_task(engine.wait(ref, Pulse())) for ref in (first, *refs)]
    await eventually(lambda: stub.requests["get"] >= reads + len(tasks), "all waits have looked", timeout=60)
    late = stub.add_run(run)
    await eventually(lambda: stub.state(late) == "FAILED", "the second run of the key is ended", timeout=60)
    assert stub.state(first.uid) == "RUNNING"
    assert stub.requests["list"] - lists <= 10, "two pages of names, and the looks that see the second run ended"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await engine.close()


async def test_many_waits_end_with_one_read_each(engine: KfpEngine, stub: KfpStub) -> None:
    refs = [await engine.submit(kfp_submission(PLAIN, run_key=key("train", n))) for n in range(1, 21)]
    tasks = [asyncio.create_task(engine.wait(ref, Pulse())) for ref in refs]
    await eventually(lambda: stub.requests["get"] >= len(refs), "all waits have looked")
    reads = stub.requests["get"]
    for ref in refs:
        stub.finish(ref.uid)
    assert all(outcome.succeeded for outcome in await asyncio.wait_for(asyncio.gather(*tasks), 20))
    assert stub.requests["get"] == reads + len(refs)


async def test_a_resync_lists_a_hundred_runs_a_request_and_has_only_ended_and_missing_ones_read(stub: KfpStub) -> None:
    settings = KfpSettings(url=stub.url)
    client = KfpClient("kfp", settings)
    watcher = KfpWatcher("kfp", client, settings)
    await client.health()
    runs = [stub.add_run({"display_name": "run"}) for _ in range(249)]
    stub.finish(runs[120])
    await eventually(lambda: stub.state(runs[120]) == "SUCCEEDED", "it has ended")
    with ExitStack() as stack:
        events = {run: stack.enter_context(watcher.register(run)) for run in [*runs, "gone"]}
        await watcher.resync()
    assert [run for run, event in events.items() if event.is_set()] == [runs[120], "gone"]
    assert stub.requests["list"] == 3
    assert stub.requests["get"] == 0
    client.close()


async def test_two_workers_each_with_a_watcher_see_the_ends_of_their_own_waits(stub: KfpStub) -> None:
    workers = [engine_at(stub) for _ in range(2)]
    refs = [await workers[0].submit(kfp_submission(PLAIN, run_key=key("train", n))) for n in range(1, 11)]
    # Each waits for its half, and both for the last one: a wait that was taken over while its first worker still lives.
    shares = [refs[:5] + refs[-1:], refs[5:]]
    tasks = [
        asyncio.create_task(worker.wait(ref, Pulse()))
        for worker, share in zip(workers, shares, strict=True)
        for ref in share
    ]
    await eventually(lambda: stub.requests["get"] >= len(tasks), "all waits have looked")
    for ref in refs:
        stub.finish(ref.uid)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert all(outcome.succeeded for outcome in outcomes)
    for worker in workers:
        await worker.close()


async def test_a_failed_run_names_the_tasks_that_it_failed_by_and_not_what_holds_them(
    engine: KfpEngine, stub: KfpStub
) -> None:
    ref, task = await waiting_for(engine, stub)
    details: list[JsonValue] = [
        {"task_id": "1", "display_name": "root", "state": "FAILED"},
        {"task_id": "2", "display_name": "fit", "state": "FAILED", "parent_task_id": "1",
         "error": {"message": "exit status 1"}, "end_time": "2024-01-01T00:00:09Z"},
        {"task_id": "3", "display_name": "load", "state": "FAILED", "parent_task_id": "1",
         "error": {"message": "no such file"}, "end_time": "2024-01-01T00:00:05Z"},
        {"task_id": "4", "display_name": "split", "state": "SUCCEEDED", "parent_task_id": "1"},
    ]  # fmt: skip
    stub.runs[ref.uid]["run_details"] = {"task_details": details}
    stub.finish(ref.uid, "FAILED", "run failed")
    outcome = await ended(task)
    assert outcome.phase == "FAILED"
    found = [(node.name, node.message, node.exit_code, node.log) for node in outcome.failed_nodes]
    assert found == [("load", "no such file", None, []), ("fit", "exit status 1", None, [])]


async def test_a_server_that_refuses_the_filter_is_listed_instead(engine: KfpEngine, stub: KfpStub) -> None:
    stub.faults.unfilterable = True
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.uid)
    assert (await ended(task)).succeeded


async def test_the_resync_finds_what_the_list_never_shows(stub: KfpStub) -> None:
    engine = engine_at(stub, resync=0.3)
    stub.faults.late = 3600.0
    ref, task = await waiting_for(engine, stub)
    stub.finish(ref.uid)
    assert (await ended(task)).succeeded
    await engine.close()


async def test_an_end_that_is_reported_late_is_within_the_overlap(engine: KfpEngine, stub: KfpStub) -> None:
    """Another run has moved the cursor past this run's end by the time its row shows it."""
    ref, task = await waiting_for(engine, stub)
    other = await engine.submit(kfp_submission(PLAIN, run_key=key("train", 2)))
    stub.finish(other.uid)
    await eventually(lambda: stub.state(other.uid) == "SUCCEEDED", "the other run has ended")
    lists = stub.requests["list"]
    await eventually(lambda: stub.requests["list"] > lists + 1, "the cursor has moved")
    earlier = datetime.now(UTC) - timedelta(seconds=30)
    stub.runs[ref.uid] |= {"state": "SUCCEEDED", "finished_at": earlier.isoformat()}
    assert (await ended(task)).succeeded


async def test_a_run_that_is_gone_is_lost_not_failed(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PLAIN))
    del stub.runs[ref.uid]
    assert (await engine.wait(ref, Pulse())).failure is FailureClass.LOST


async def test_a_failed_run_tells_its_error_and_those_of_its_tasks(engine: KfpEngine, stub: KfpStub) -> None:
    ref, task = await waiting_for(engine, stub)
    details: JsonObject = {
        "task_details": [{"task_id": "1", "display_name": "train", "state": "FAILED", "error": {"message": "no data"}}]
    }
    stub.runs[ref.uid]["run_details"] = details
    stub.finish(ref.uid, "FAILED", "the run failed")
    outcome = await ended(task)
    assert outcome.failure is FailureClass.FAILED
    assert outcome.message == "the run failed\ntrain: no data"
    assert [(line.node, line.text) async for line in engine.logs(ref)] == [("", "the run failed"), ("train", "no data")]


async def test_cancelling_a_wait_leaves_the_run_alone(engine: KfpEngine, stub: KfpStub) -> None:
    ref, task = await waiting_for(engine, stub)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stub.state(ref.uid) == "RUNNING"
    assert stub.requests["terminate"] == 0


async def test_a_wait_bears_a_burst_of_503(engine: KfpEngine, stub: KfpStub) -> None:
    ref, task = await waiting_for(engine, stub)
    stub.faults.bursts = 4
    stub.finish(ref.uid)
    assert (await ended(task)).succeeded


async def test_outputs_come_over_rest_from_a_3x_server(engine: KfpEngine, stub: KfpStub) -> None:
    stub.duration = 0.0
    stub.artifacts["a-2"] = {"artifact_id": "a-2", "name": "loss", "type": "Metric", "number_value": 0.1}
    stub.tasks = lambda run: [
        {"task_id": "t-0", "name": "ROOT", "type": "ROOT", "state": "SUCCEEDED"},
        {
            "task_id": "t-1",
            "parent_task_id": "t-0",
            "name": "train",
            "type": "RUNTIME",
            "state": "CACHED",
            "outputs": {
                "parameters": [{"parameter_key": "accuracy", "value": 1}, {"parameter_key": "rows", "value": 7.0}],
                "artifacts": [
                    {
                        "artifact_key": "metrics",
                        "artifacts": [
                            {"artifact_id": "a-1", "name": "f1", "type": "Metric", "number_value": 0.5},
                            {"artifact_id": "a-2"},
                        ],
                    }
                ],
            },
        },
    ]
    outcome = await engine.wait(await engine.submit(kfp_submission(WITH_OUTPUTS)), Pulse())
    assert outcome.outputs == {"accuracy": 1.0, "rows": 7}
    assert [type(value) for value in outcome.outputs.values()] == [float, int]
    assert outcome.artifacts["metrics"].metadata == {"f1": 0.5, "loss": 0.1}
    assert outcome.cached_nodes == 1


async def test_outputs_that_the_server_cannot_show_are_refused_with_the_setting_to_make(stub: KfpStub) -> None:
    stub.duration, stub.rest_outputs = 0.0, False
    engine = engine_at(stub)
    ref = await engine.submit(kfp_submission(WITH_OUTPUTS))
    with pytest.raises(EngineRejected, match="declares outputs") as caught:
        await engine.wait(ref, Pulse())
    assert "metadata_address" in caught.value.hint
    await engine.close()


async def test_a_pipeline_without_outputs_needs_no_place_to_read_them(stub: KfpStub) -> None:
    stub.duration, stub.rest_outputs = 0.0, False
    engine = engine_at(stub)
    assert (await engine.wait(await engine.submit(kfp_submission(PLAIN)), Pulse())).succeeded
    await engine.close()


@pytest.mark.parametrize("written", [True, False])
async def test_outputs_come_from_ml_metadata_where_one_is_configured(
    stub: KfpStub, caplog: pytest.LogCaptureFixture, tmp_path: Path, written: bool
) -> None:
    file = tmp_path / "metrics"
    if written:
        file.write_text("{}")
    stub.duration = 0.0
    async with serve_metadata() as metadata:
        engine = engine_at(stub, metadata_address=metadata.address)
        ref = await engine.submit(kfp_submission(WITH_OUTPUTS))
        root = metadata.add_task(ref.uid, "")
        metadata.add_task(
            ref.uid,
            "train",
            parent=root,
            outputs={"accuracy": 0.93, "rows": 7},
            artifacts={"metrics": (file.as_uri(), "system.Metrics")},
        )
        outcome = await engine.wait(ref, Pulse())
        assert outcome.outputs == {"accuracy": 0.93, "rows": 7}
        assert isinstance(outcome.outputs["rows"], int)
        found = outcome.artifacts["metrics"]
        assert (found.uri, found.type, found.metadata) == (
            file.as_uri(),
            "system.Metrics",
            {"framework": "sklearn"},
        )
        assert {node.name: node.phase for node in outcome.nodes} == {"root": "SUCCEEDED", "train": "SUCCEEDED"}
        assert found.size == (2 if written else None)
        assert (found.sha256 is not None) == written
        assert not caplog.messages  # metrics are metadata first: nobody misses the object
        assert (await engine.health()).ok
        await engine.close()


async def test_a_run_that_ml_metadata_does_not_know_is_lost(stub: KfpStub) -> None:
    stub.duration = 0.0
    async with serve_metadata() as metadata:
        engine = engine_at(stub, metadata_address=metadata.address)
        outcome = await engine.wait(await engine.submit(kfp_submission(WITH_OUTPUTS)), Pulse())
        assert outcome.failure is FailureClass.LOST
        assert "knows nothing of it" in outcome.message
        await engine.close()


async def test_the_outputs_of_an_uploaded_pipelines_run_are_found_through_its_version(stub: KfpStub) -> None:
    from workflows.spec.sources import KfpSource

    stub.duration = 0.0
    stub.upload("trainer", pipeline_spec(outputs={"rows": "NUMBER_INTEGER"}))
    stub.tasks = lambda run: [
        {"task_id": "t-0", "type": "ROOT", "outputs": {"parameters": [{"parameter_key": "rows", "value": 7}]}}
    ]
    engine = engine_at(stub)
    ref = await engine.submit(kfp_submission(None, source=KfpSource(pipeline="trainer")))
    assert (await engine.wait(ref, Pulse())).outputs == {"rows": 7}
    await engine.close()
