"""`meta plan`: what would run, and what the engines say, against stubs of their REST APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from tests.integration.service.servers import CHAIN, Rig
from tests.integration.service.test_docs import snippets
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.settings import ArgoSettings, KfpSettings
from workflows.outcome import Outcome
from workflows.values import JsonObject, JsonValue

Meta = Callable[..., Awaitable[tuple[int, str]]]

DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: planned}
inputs:
  rate: {type: number, default: 0.1}
  deploy: {type: boolean, default: false}
steps:
  prepare:
    argo: {manifest: step.yaml}
    parameters: {rate: "${{ inputs.rate }}"}
  train:
    kfp: {package: train.yaml}
    needs: [prepare]
    parameters: {rate: "${{ inputs.rate }}"}
    artifacts: {dataset: "${{ steps.prepare.artifacts.dataset }}"}
  deploy:
    when: inputs.deploy
    argo: {template: deploy}
    needs: [train]
    parameters: {mode: fast}
    compensate: {argo: {template: deploy}, parameters: {mode: slow}}
"""
TEMPLATE: JsonObject = {
    "metadata": {"name": "deploy"},
    "spec": {"entrypoint": "main", "arguments": {"parameters": [{"name": "mode", "enum": ["fast", "slow"]}]}},
}
TRAIN = pipeline_spec(parameters={"rate": "NUMBER_DOUBLE", "dataset_uri": "STRING"}, required=["rate"])
ROWS = "outputs: {parameters: [{name: rows, valueFrom: {path: /tmp/rows}}]}"
DATASET = "outputs: {artifacts: [{name: dataset, path: /tmp/dataset}]}"


@pytest.fixture
async def engines(rig: Rig) -> AsyncIterator[tuple[ArgoStub, KfpStub]]:
    """The service knows two engines; the workers need none, for nothing runs."""
    async with ArgoStub(duration=None) as argo, KfpStub(duration=None) as kfp:
        settings = {"argo": ArgoSettings(url=argo.url), "kfp": KfpSettings(url=kfp.url)}
        rig.config = rig.config.model_copy(update={"engines": settings})
        await rig.restart()
        yield argo, kfp


@pytest.fixture
def meta(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Meta:
    monkeypatch.setenv("COLUMNS", "160")
    file = rig.chain(DEFINITION)
    (file.parent / "train.yaml").write_text(package({**TRAIN, "deploymentSpec": {}}))
    step = file.parent / "step.yaml"
    step.write_text(step.read_text().replace("    - name: main\n", f"    - name: main\n      {DATASET}\n"))

    async def invoke(*arguments: str) -> tuple[int, str]:
        words = ["--address", rig.address, "plan", str(file), *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return invoke


async def test_a_plan_shows_values_what_is_skipped_and_what_the_engines_say(
    meta: Meta, engines: tuple[ArgoStub, KfpStub]
) -> None:
    argo, kfp = engines
    code, out = await meta()
    assert code == 0, out
    assert "skip: when is false: inputs.deploy" in out
    assert "rate = 0.1" in out
    assert "dataset = ${{ steps.prepare.artifacts.dataset }}" in out
    assert "arguments: parameters rate; artifacts dataset" in out
    assert "skip: deploy does not run" in out
    assert "nothing stands in the way" in out
    assert not argo.workflows
    assert not kfp.runs


async def test_a_template_that_is_not_there_is_told_before_anything_runs(
    meta: Meta, engines: tuple[ArgoStub, KfpStub]
) -> None:
    argo, _ = engines
    code, out = await meta("-i", "deploy=true")
    assert code == 1
    assert "has no WorkflowTemplate 'deploy'" in out
    assert "would fail: deploy, compensate_deploy" in out
    argo.templates["deploy"] = TEMPLATE
    code, out = await meta("-i", "deploy=true")
    assert code == 0, out


async def test_wrong_inputs_and_a_wrong_definition_have_an_exit_code_of_their_own(
    rig: Rig, meta: Meta, engines: tuple[ArgoStub, KfpStub]
) -> None:
    code, out = await meta("--inputs-json", '{"rate": "high"}')
    assert code == 2
    assert "rate" in out
    file = rig.folder / "definitions" / "chain.yaml"
    file.write_text(DEFINITION.replace("inputs.deploy", "inputs.deploi"))
    code, out = await meta()
    assert code == 2
    assert "deploi" in out


async def test_an_engine_that_is_down_fails_the_plan_and_offline_does_not_ask(rig: Rig, meta: Meta) -> None:
    settings = {"argo": ArgoSettings(url="http://127.0.0.1:1"), "kfp": KfpSettings(url="http://127.0.0.1:1")}
    rig.config = rig.config.model_copy(update={"engines": settings})
    await rig.restart()
    code, out = await meta()
    assert code == 1
    assert "fail" in out
    code, out = await meta("--offline", "--output", "json")
    plan = json.loads(out)
    assert code == 0
    assert [step["what"] for step in plan["steps"]] == ["run", "run", "skip", "skip"]
    assert plan["history_events"] > 20


async def test_a_published_workflow_is_planned_by_name(rig: Rig, engines: tuple[ArgoStub, KfpStub]) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain())
        plan = await client.plan("chain", {"rate": 2})
    assert plan.ok
    assert plan.inputs == {"rate": 2.0, "note": ""}
    assert [(step.name, step.what, step.after) for step in plan.steps] == [
        ("prepare", "run", []),
        ("train", "run", ["prepare"]),
    ]


async def test_a_step_whose_work_is_done_is_planned_from_the_cache_and_what_follows_knows_its_outputs(rig: Rig) -> None:
    definition = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: cached}
steps:
  train: {argo: {manifest: step.yaml}, cache: true, outputs: {rows: integer}}
  check:
    when: steps.train.outputs.rows > 5
    argo: {manifest: step.yaml}
    parameters: {rate: "${{ steps.train.outputs.rows }}"}
"""
    rig.engine.script["train"] = [Outcome(outputs={"rows": "7"})]
    file = rig.chain(definition)
    manifest = file.parent / "step.yaml"
    manifest.write_text(manifest.read_text().replace("    - name: main\n", f"    - name: main\n      {ROWS}\n"))
    async with rig.client() as client:
        before = await client.plan(file, offline=True)
        run = await client.start(file)
        await client.result(run.id)
        after = await client.plan(file, offline=True)
    assert [(step.name, step.what) for step in before.steps] == [("train", "run"), ("check", "unknown")]
    train, check = after.steps
    assert (train.what, train.taken_from and train.taken_from.run) == ("cached", run.id)
    assert (check.what, check.values) == ("run", {"rate": 7})
    assert after.history_events < before.history_events


async def test_a_use_case_is_settled_in_the_plan_as_in_a_run(rig: Rig, engines: tuple[ArgoStub, KfpStub]) -> None:
    text = CHAIN.replace("  train:\n", "  train:\n    useCase: reporting\n")
    async with rig.client() as client:
        refused = await client.plan(rig.chain(text))
        rig.config = rig.config.model_copy(update={"use_cases": {"reporting": "argo"}})
        await rig.restart()
        planned = await client.plan(rig.chain(text))
    assert "reporting" in refused.problems[0].message
    assert [step.engine for step in planned.steps] == ["argo", "argo"]
    assert planned.ok


async def test_the_example_of_the_page_prints_what_the_page_shows(
    rig: Rig, engines: tuple[ArgoStub, KfpStub], monkeypatch: pytest.MonkeyPatch
) -> None:
    argo, _ = engines
    parameters: JsonValue = [{"name": "rate"}]
    for name, arguments in (("prepare", parameters), ("deploy", [])):
        spec: JsonObject = {"entrypoint": "main", "arguments": {"parameters": arguments}}
        argo.templates[name] = {"metadata": {"name": name}, "spec": spec}
    file = rig.chain(snippets("planning.md", "yaml")[0])
    monkeypatch.setenv("COLUMNS", "120")
    result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, "plan", str(file)])
    assert result.exit_code == 1
    [shown] = snippets("planning.md", "text")
    assert _lines(result.output) == _lines(shown)


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
