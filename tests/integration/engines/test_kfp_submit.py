"""Submitting to KFP, which would make a run for every request: one is adopted for each attempt."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.submissions import SETTLE, TIMEOUT, key, kfp_submission
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.json_view import child, text
from workers.engines.kfp.engine import KfpEngine
from workers.settings import KfpSettings, StoreSettings
from workflows.errors import EngineRejected, EngineRunForeign, EngineUnavailable
from workflows.outcome import Artifact
from workflows.spec.sources import KfpSource

PACKAGE = package(pipeline_spec(parameters={"learning_rate": "NUMBER_DOUBLE", "dataset_uri": "STRING"}))


def engine_at(url: str, **settings: object) -> KfpEngine:
    values = {
        "url": url,
        "request_timeout": TIMEOUT,
        "settle_delay": SETTLE,
        "ui_url": "https://kfp.example",
        **settings,
    }
    return KfpEngine("kfp", KfpSettings.model_validate(values), ArtifactStore(StoreSettings()))


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def engine(stub: KfpStub) -> AsyncIterator[KfpEngine]:
    engine = engine_at(stub.url)
    yield engine
    await engine.close()


async def test_a_submission_creates_one_run_that_carries_its_key(engine: KfpEngine, stub: KfpStub) -> None:
    submission = kfp_submission(
        PACKAGE,
        parameters={"learning_rate": 1},
        artifacts={"dataset": Artifact(name="dataset", uri="s3://bucket/data.npz")},
    )
    ref = await engine.submit(submission)

    run = stub.runs[ref.uid]
    assert (ref.name, ref.url) == (submission.name, f"https://kfp.example/#/runs/details/{ref.uid}")
    assert json.loads(text(run, "description")) == {
        "key": "chain-1/train/0/1",
        "digest": "sha256:bb",
        "managed-by": "meta-workflows",
    }
    assert run["runtime_config"] == {"parameters": {"learning_rate": 1.0, "dataset_uri": "s3://bucket/data.npz"}}
    assert text(stub.experiments["chain"], "experiment_id") == run["experiment_id"]
    assert child(run, "pipeline_spec")["pipelineInfo"] == {"name": "digits-train"}


async def test_submitting_twice_adopts_the_first_run(engine: KfpEngine, stub: KfpStub) -> None:
    first = await engine.submit(kfp_submission(PACKAGE))
    assert await engine.submit(kfp_submission(PACKAGE)) == first
    assert stub.requests["create"] == 1


@pytest.mark.parametrize(
    "reason",
    [
        "Failed to fetch a template with an invalid pipeline spec manifest: unable to decode yaml document",
        "Failed to fetch a template due to error retrieving pipeline version: ResourceNotFoundError: "
        "PipelineVersion x not found",
    ],
)
async def test_a_pipeline_that_is_not_valid_is_rejected_though_the_server_calls_it_an_internal_error(
    engine: KfpEngine, stub: KfpStub, reason: str
) -> None:
    stub.faults.broken_creates, stub.faults.broken_because = 1, reason
    with pytest.raises(EngineRejected, match="error fetching manifest"):
        await engine.submit(kfp_submission(PACKAGE))
    assert stub.runs == {}


async def test_a_version_that_the_server_cannot_read_now_is_no_refusal(engine: KfpEngine, stub: KfpStub) -> None:
    stub.faults.broken_creates = 1
    stub.faults.broken_because = (
        "Failed to fetch a template due to error retrieving pipeline version: invalid connection"
    )
    with pytest.raises(EngineUnavailable, match="invalid connection"):
        await engine.submit(kfp_submission(PACKAGE))


async def test_of_runs_made_at_the_same_time_the_oldest_stays(engine: KfpEngine, stub: KfpStub) -> None:
    refs = await asyncio.gather(*(engine.submit(kfp_submission(PACKAGE)) for _ in range(2)))
    final = await engine.submit(kfp_submission(PACKAGE))
    oldest = min(stub.runs.values(), key=lambda run: (text(run, "created_at"), text(run, "run_id")))
    assert final.uid == text(oldest, "run_id")
    assert final in refs
    running = [run for run in stub.runs.values() if text(run, "state") == "RUNNING"]
    assert running == [oldest]


async def test_a_create_that_made_two_runs_leaves_the_older_at_once(engine: KfpEngine, stub: KfpStub) -> None:
    stub.faults.doubled_creates = 1
    ref = await engine.submit(kfp_submission(PACKAGE))
    first, second = stub.runs
    assert ref.uid == first
    assert (stub.state(first), stub.state(second)) == ("RUNNING", "FAILED")


async def test_a_second_run_of_the_key_is_terminated(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE))
    second = stub.add_run(dict(stub.runs[ref.uid]))
    assert await engine.submit(kfp_submission(PACKAGE)) == ref
    assert (stub.state(ref.uid), stub.state(second)) == ("RUNNING", "FAILED")


async def test_a_run_of_our_name_with_another_digest_is_foreign(engine: KfpEngine) -> None:
    await engine.submit(kfp_submission(PACKAGE))
    with pytest.raises(EngineRunForeign, match="digest 'sha256:bb'"):
        await engine.submit(kfp_submission(PACKAGE, digest="sha256:cc"))


async def test_a_run_of_our_name_that_somebody_else_made_is_foreign(engine: KfpEngine, stub: KfpStub) -> None:
    submission = kfp_submission(PACKAGE)
    stub.add_run({"display_name": submission.name, "description": "my own"})
    with pytest.raises(EngineRunForeign, match="carries key ''"):
        await engine.submit(submission)


async def test_a_run_whose_creation_was_never_answered_is_adopted(engine: KfpEngine, stub: KfpStub) -> None:
    stub.faults.lost_creates = 1
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert list(stub.runs) == [ref.uid]
    assert stub.requests["create"] == 1


async def test_a_run_that_the_list_shows_late_is_adopted_after_the_settle_delay(
    engine: KfpEngine, stub: KfpStub
) -> None:
    stub.faults.lost_creates = 1
    stub.faults.late = TIMEOUT + SETTLE / 2  # after the request has timed out, before the settle delay is over
    began = time.monotonic()
    ref = await engine.submit(kfp_submission(PACKAGE))
    assert time.monotonic() - began >= TIMEOUT + SETTLE
    assert list(stub.runs) == [ref.uid]


async def test_when_nothing_was_created_it_says_unavailable(engine: KfpEngine, stub: KfpStub) -> None:
    stub.faults.refused_creates = 1
    with pytest.raises(EngineUnavailable):
        await engine.submit(kfp_submission(PACKAGE))
    assert not stub.runs
    await engine.submit(kfp_submission(PACKAGE))
    assert len(stub.runs) == 1


async def test_without_the_cache_no_task_may_be_cached(engine: KfpEngine, stub: KfpStub) -> None:
    ref = await engine.submit(kfp_submission(PACKAGE, source=KfpSource(package="train.yaml", cache=False)))
    task = child(stub.runs[ref.uid], "pipeline_spec", "root", "dag", "tasks", "train")
    assert task["cachingOptions"] == {"enableCache": False}


async def test_an_uploaded_pipeline_is_run_by_the_names_of_itself_and_its_version(
    engine: KfpEngine, stub: KfpStub
) -> None:
    stub.upload("trainer", pipeline_spec(parameters={"learning_rate": "NUMBER_DOUBLE"}), "v3")
    source = KfpSource(pipeline="trainer", version="v3", experiment="mine")
    ref = await engine.submit(kfp_submission(None, source=source, parameters={"learning_rate": "0.5"}))
    run = stub.runs[ref.uid]
    (pipeline, (version,)) = next(iter(stub.pipelines.values()))
    assert run["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert run["runtime_config"] == {"parameters": {"learning_rate": 0.5}}
    assert "mine" in stub.experiments


async def test_an_unknown_version_is_rejected_with_those_that_are(engine: KfpEngine, stub: KfpStub) -> None:
    stub.upload("trainer", pipeline_spec(), "v3")
    with pytest.raises(EngineRejected, match="has no version 'v4'") as caught:
        await engine.submit(kfp_submission(None, source=KfpSource(pipeline="trainer", version="v4")))
    assert "v3" in caught.value.hint


async def test_an_unknown_pipeline_is_rejected(engine: KfpEngine) -> None:
    with pytest.raises(EngineRejected, match="has no pipeline 'trainer'"):
        await engine.submit(kfp_submission(None, source=KfpSource(pipeline="trainer")))


async def test_the_next_attempt_gets_a_run_of_its_own(engine: KfpEngine, stub: KfpStub) -> None:
    first = await engine.submit(kfp_submission(PACKAGE, run_key=key("train", 1)))
    second = await engine.submit(kfp_submission(PACKAGE, run_key=key("train", 2)))
    assert {first.uid, second.uid} == set(stub.runs)
    assert stub.requests["experiment"] == 1


async def test_health_tells_version_and_where_outputs_come_from(engine: KfpEngine) -> None:
    health = await engine.health()
    assert (health.ok, health.version, health.message) == (True, "2.17.0", "outputs from the API server")


async def test_an_unreachable_ml_metadata_is_unhealthy_and_names_the_setting(stub: KfpStub) -> None:
    engine = engine_at(stub.url, metadata_address="127.0.0.1:1")
    health = await engine.health()
    assert not health.ok
    assert "metadata_address" in health.hint
    await engine.close()
