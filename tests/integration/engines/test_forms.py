"""The forms of a submission over HTTP: what each becomes on the server, and what is refused before anything is made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.engines.submissions import SETTLE, TIMEOUT, argo_submission, kfp_submission
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import child, text
from workers.engines.kfp.engine import KfpEngine
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineRejected, InputsInvalid
from workflows.spec.sources import ArgoSource, KfpSource
from workflows.values import JsonObject

TEMPLATE: JsonObject = {
    "spec": {
        "entrypoint": "main",
        "arguments": {"parameters": [{"name": "learning-rate"}, {"name": "mode", "value": "a", "enum": ["a", "b"]}]},
    }
}
CRON: JsonObject = {"spec": {"workflowSpec": TEMPLATE["spec"], "workflowMetadata": {"labels": {"tier": "night"}}}}
SPEC = pipeline_spec(parameters={"rate": "NUMBER_DOUBLE", "dataset_uri": "STRING"}, required=["rate"])


@pytest_asyncio.fixture
async def argo_stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def argo(argo_stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    settings = ArgoSettings(
        url=argo_stub.url,
        request_timeout=TIMEOUT,
        settle_delay=SETTLE,
        labels={"team": "ml"},
        annotations={"cost": "7"},
    )
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def kfp_stub() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def kfp(kfp_stub: KfpStub) -> AsyncIterator[KfpEngine]:
    settings = KfpSettings(
        url=kfp_stub.url, request_timeout=TIMEOUT, settle_delay=SETTLE, labels={"team": "ml"},
        pipeline_root="s3://engines/root", service_account="engines",
    )  # fmt: skip
    engine = KfpEngine("kfp", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


async def test_a_cron_workflows_template_is_run(argo: ArgoEngine, argo_stub: ArgoStub) -> None:
    argo_stub.cron_workflows["nightly"] = CRON
    source = ArgoSource(cron_workflow="nightly", service_account="night")
    ref = await argo.submit(argo_submission(source=source, parameters={"learning_rate": 0.5}))
    workflow = argo_stub.workflows[ref.name]
    labels = child(workflow, "metadata", "labels")
    assert (labels["tier"], labels["team"]) == ("night", "ml")
    assert text(workflow, "metadata", "annotations", "cost") == "7"
    assert text(workflow, "spec", "entrypoint") == "main"
    assert text(workflow, "spec", "serviceAccountName") == "night"
    assert child(workflow, "spec", "arguments")["parameters"] == [
        {"name": "learning-rate", "value": "0.5"},
        {"name": "mode", "value": "a", "enum": ["a", "b"]},
    ]


async def test_a_cron_workflow_whose_workflow_is_a_template_is_checked_against_that(
    argo: ArgoEngine, argo_stub: ArgoStub
) -> None:
    argo_stub.cron_workflows["nightly"] = {"spec": {"workflowSpec": {"workflowTemplateRef": {"name": "t"}}}}
    argo_stub.templates["t"] = TEMPLATE
    source = ArgoSource(cron_workflow="nightly")
    with pytest.raises(InputsInvalid, match="no parameter 'rate'"):
        await argo.submit(argo_submission(source=source, parameters={"learning_rate": 1, "rate": 1}))
    ref = await argo.submit(argo_submission(source=source, parameters={"learning_rate": 1}))
    assert child(argo_stub.workflows[ref.name], "spec")["workflowTemplateRef"] == {"name": "t"}


async def test_a_cron_workflow_that_is_not_there_or_may_not_be_read_is_refused(
    argo: ArgoEngine, argo_stub: ArgoStub
) -> None:
    with pytest.raises(EngineRejected, match="no CronWorkflow 'nightly'"):
        await argo.submit(argo_submission(source=ArgoSource(cron_workflow="nightly")))
    argo_stub.may_read_templates = False
    with pytest.raises(EngineRejected, match="is forbidden"):
        await argo.submit(argo_submission(source=ArgoSource(cron_workflow="nightly")))


@pytest.mark.parametrize("source", [ArgoSource(template="t"), ArgoSource(cluster_template="t")])
async def test_what_a_template_does_not_take_is_refused_before_anything_is_made(
    argo: ArgoEngine, argo_stub: ArgoStub, source: ArgoSource
) -> None:
    argo_stub.templates["t"] = TEMPLATE
    wrong: JsonObject = {"learning_rat": 1, "mode": "c"}
    with pytest.raises(InputsInvalid) as caught:
        await argo.submit(argo_submission(source=source, parameters=wrong))
    assert "Template 't': " in caught.value.message
    for words in ("no parameter 'learning_rat'", "'mode' cannot be 'c'", "needs parameter 'learning_rate'"):
        assert words in caught.value.message
    assert "did you mean 'learning_rate'?" in caught.value.hint
    assert argo_stub.requests["create"] == 0


async def test_a_template_that_may_not_be_read_runs_unchecked(argo: ArgoEngine, argo_stub: ArgoStub) -> None:
    argo_stub.may_read_templates = False
    ref = await argo.submit(argo_submission(source=ArgoSource(template="t"), parameters={"anything": 1}))
    arguments = child(argo_stub.workflows[ref.name], "spec", "arguments")
    assert arguments["parameters"] == [{"name": "anything", "value": "1"}]


@pytest.mark.parametrize(
    ("source", "text_of"), [(KfpSource(package="train.yaml"), package(SPEC)), (KfpSource(pipeline="up"), None)]
)
async def test_what_a_pipeline_does_not_take_is_refused_before_anything_is_made(
    kfp: KfpEngine, kfp_stub: KfpStub, source: KfpSource, text_of: str | None
) -> None:
    kfp_stub.upload("up", SPEC)
    refused: list[tuple[JsonObject, str]] = [
        ({}, "needs 'rate', without a default"),
        ({"rate": "fast"}, "parameter 'rate' of the pipeline is a number"),
        ({"rate": 1, "rat": 2}, "declares no parameter for parameter 'rat'"),
    ]
    for wrong, words in refused:
        submission = kfp_submission(text_of, source=source, parameters=wrong)
        with pytest.raises(InputsInvalid, match=words):
            await kfp.submit(submission)
    assert kfp_stub.requests["create"] == 0
    assert not kfp_stub.experiments


@pytest.mark.parametrize("source", [{}, {"cache": False}])
async def test_an_uploaded_pipeline_runs_with_what_the_step_says(
    kfp: KfpEngine, kfp_stub: KfpStub, source: dict[str, object]
) -> None:
    kfp_stub.upload("up", SPEC, "v3")
    values = {"pipeline": "up", "version": "v3", "experiment": "trials", **source}
    values |= {"pipeline_root": "s3://steps/root", "service_account": "steps"}
    chosen = KfpSource.model_validate(values, by_name=True)
    ref = await kfp.submit(kfp_submission(None, source=chosen, parameters={"rate": 1}))
    run = kfp_stub.runs[ref.uid]
    assert text(run, "runtime_config", "pipeline_root") == "s3://steps/root"
    assert text(run, "service_account") == "steps"
    assert run["experiment_id"] == kfp_stub.experiments["trials"]["experiment_id"]
    assert ("pipeline_version_reference" in run) is not bool(source)


async def test_a_run_has_the_engines_defaults_and_the_definitions_experiment(kfp: KfpEngine, kfp_stub: KfpStub) -> None:
    first = await kfp.submit(kfp_submission(package(SPEC), parameters={"rate": 1}))
    run = kfp_stub.runs[first.uid]
    assert text(run, "runtime_config", "pipeline_root") == "s3://engines/root"
    assert text(run, "service_account") == "engines"
    assert json.loads(text(run, "description"))["labels"] == {"team": "ml"}
    assert list(kfp_stub.experiments) == ["chain"]
    assert await kfp.submit(kfp_submission(package(SPEC), parameters={"rate": 1})) == first, "labels are no identity"
