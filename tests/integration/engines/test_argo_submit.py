"""Submitting to Argo: one workflow for each attempt, whatever the server's answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.submissions import SETTLE, TIMEOUT, argo_submission, key
from tests.stubs.argo import ArgoStub
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import child, text
from workers.settings import ArgoSettings, StoreSettings
from workflows.errors import EngineRejected, EngineRunForeign, EngineUnavailable
from workflows.outcome import EngineRunRef
from workflows.spec.sources import ArgoSource


def engine_at(url: str, **settings: object) -> ArgoEngine:
    values = {
        "url": url,
        "request_timeout": TIMEOUT,
        "settle_delay": SETTLE,
        "ui_url": "https://argo.example",
        **settings,
    }
    return ArgoEngine("argo", ArgoSettings.model_validate(values), ArtifactStore(StoreSettings()))


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def engine(stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    engine = engine_at(stub.url)
    yield engine
    await engine.close()


async def test_a_submission_creates_one_workflow_that_carries_its_key(engine: ArgoEngine, stub: ArgoStub) -> None:
    submission = argo_submission(parameters={"learning_rate": 0.5}, trace={"traceparent": "00-1-2-01"})
    ref = await engine.submit(submission)

    workflow = stub.workflows[submission.name]
    assert ref == EngineRunRef(
        engine="argo",
        kind=engine.kind,
        name=submission.name,
        uid=text(workflow, "metadata", "uid"),
        namespace="argo",
        url=f"https://argo.example/workflows/argo/{submission.name}?uid={text(workflow, 'metadata', 'uid')}",
    )
    annotations = child(workflow, "metadata", "annotations")
    assert annotations["meta-workflows/key"] == "chain-1/prepare/0/1"
    assert annotations["meta-workflows/spec-digest"] == "sha256:aa"
    assert annotations["meta-workflows/traceparent"] == "00-1-2-01"


async def test_submitting_twice_adopts_the_first_workflow(engine: ArgoEngine, stub: ArgoStub) -> None:
    first = await engine.submit(argo_submission())
    assert await engine.submit(argo_submission()) == first
    assert stub.requests["create"] == 1


async def test_submitting_at_the_same_time_adopts_one_workflow(engine: ArgoEngine, stub: ArgoStub) -> None:
    first, second = await asyncio.gather(engine.submit(argo_submission()), engine.submit(argo_submission()))
    assert first == second
    assert len(stub.workflows) == 1


async def test_a_workflow_of_our_name_with_another_digest_is_foreign(engine: ArgoEngine) -> None:
    await engine.submit(argo_submission(digest="sha256:aa"))
    with pytest.raises(EngineRunForeign, match="digest 'sha256:aa'"):
        await engine.submit(argo_submission(digest="sha256:cc"))


async def test_a_workflow_whose_creation_was_never_answered_is_adopted(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.faults.lost_creates = 1
    ref = await engine.submit(argo_submission())
    assert list(stub.workflows) == [ref.name]
    assert stub.requests["create"] == 1


async def test_when_nothing_was_created_it_says_unavailable_after_the_settle_delay(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.faults.refused_creates = 1
    began = time.monotonic()
    with pytest.raises(EngineUnavailable):
        await engine.submit(argo_submission())
    assert time.monotonic() - began >= TIMEOUT + SETTLE  # request time-out, then settle delay
    assert not stub.workflows
    await engine.submit(argo_submission())
    assert len(stub.workflows) == 1


async def test_a_quota_refusal_that_looks_like_a_taken_name_is_tried_again(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.faults.quota_conflicts = 1
    with pytest.raises(EngineUnavailable, match="exceeded quota"):
        await engine.submit(argo_submission())
    assert (await engine.submit(argo_submission())).name in stub.workflows


async def test_a_bad_manifest_is_rejected_with_the_servers_words(engine: ArgoEngine) -> None:
    with pytest.raises(EngineRejected, match="at least one of templates or workflowTemplateRef"):
        await engine.submit(argo_submission(manifest="{apiVersion: argoproj.io/v1alpha1, kind: Workflow}"))


async def test_a_burst_of_503_is_unavailable(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.faults.bursts = 1
    with pytest.raises(EngineUnavailable, match="503"):
        await engine.submit(argo_submission())


async def test_an_engine_that_is_not_there_is_unavailable_and_says_where(stub: ArgoStub) -> None:
    engine = engine_at("http://127.0.0.1:1")
    with pytest.raises(EngineUnavailable, match=r"does not answer at http://127\.0\.0\.1:1") as caught:
        await engine.submit(argo_submission())
    assert "[engines.argo]" in caught.value.hint
    assert not (await engine.health()).ok
    await engine.close()


async def test_a_template_is_run_by_reference_with_the_names_it_declares(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.templates["trainer"] = {"spec": {"arguments": {"parameters": [{"name": "learning-rate"}]}}}
    ref = await engine.submit(argo_submission(source=ArgoSource(template="trainer"), parameters={"learning_rate": 0.5}))
    spec = child(stub.workflows[ref.name], "spec")
    assert spec["workflowTemplateRef"] == {"name": "trainer"}
    assert child(spec, "arguments")["parameters"] == [{"name": "learning-rate", "value": "0.5"}]


async def test_a_template_that_is_not_there_is_rejected_by_name(engine: ArgoEngine) -> None:
    with pytest.raises(EngineRejected, match="no ClusterWorkflowTemplate 'trainer'"):
        await engine.submit(argo_submission(source=ArgoSource(cluster_template="trainer")))


async def test_a_token_file_is_read_again_when_it_changes(
    stub: ArgoStub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("first\n")
    engine = engine_at(stub.url, token_file=str(file))
    await engine.health()
    assert stub.tokens[-1] == "Bearer first"
    file.write_text("second\n")
    await engine.health()
    assert stub.tokens[-1] == "Bearer second"
    await engine.close()


async def test_health_tells_the_version(engine: ArgoEngine) -> None:
    health = await engine.health()
    assert (health.ok, health.version) == (True, "v3.7.18")


async def test_a_namespace_without_rights_is_unhealthy_and_says_why(stub: ArgoStub) -> None:
    engine = engine_at(stub.url, namespace="other")
    health = await engine.health()
    assert not health.ok
    assert "forbidden" in health.message
    assert "token" in health.hint
    await engine.close()


async def test_the_next_attempt_gets_a_workflow_of_its_own(engine: ArgoEngine, stub: ArgoStub) -> None:
    first = await engine.submit(argo_submission(run_key=key(attempt=1)))
    second = await engine.submit(argo_submission(run_key=key(attempt=2)))
    assert {first.name, second.name} == set(stub.workflows)
