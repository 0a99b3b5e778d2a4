"""What every chain of the catalogue keeps to: it runs at once, on sandboxes and on a cluster, and says what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hera.workflows.models import Template, Workflow
from typer.testing import CliRunner

import workflows
from meta.cli.app import app
from meta.sandbox.images import ImageTable
from meta.stack.config_file import USE_CASES
from tests.unit.catalog.test_catalog import values_of
from workflows.outcome import EngineKind
from workflows.spec.models import MetaWorkflow
from workflows.use_cases import UseCases

CATALOG = Path(workflows.__file__).parent / "catalog"
SIX = ["batch-inference", "branching-dag", "document-ingestion", "hybrid-training", "ml-training", "model-evaluation"]
STANDARD_LIBRARY = "python:3.12-slim"
"""Needs no place in the images table: where an image is not in it, the sandbox has a bare Python."""


def definition(chain: str) -> MetaWorkflow:
    return MetaWorkflow.model_validate(yaml.safe_load((CATALOG / chain / "workflow.yaml").read_text()))


def files() -> Iterator[tuple[str, EngineKind, str]]:
    for chain in SIX:
        for step in definition(chain).steps.values():
            for kind, file in step.files.items():
                yield chain, kind, file


FILES = [(chain, file) for chain, _, file in files()]
MANIFESTS = [(chain, file) for chain, kind, file in files() if kind is EngineKind.ARGO]


def workflow(chain: str, file: str) -> Workflow:
    return Workflow.model_validate(yaml.safe_load((CATALOG / chain / file).read_text()))


def templates(chain: str, file: str) -> list[Template]:
    return workflow(chain, file).spec.templates or []


def test_the_catalogue_lists_the_six_chains() -> None:
    result = CliRunner().invoke(app, ["catalog", "--output", "json"])
    assert [one["name"] for one in json.loads(result.stdout)] == SIX


@pytest.mark.parametrize("chain", SIX)
def test_a_chain_runs_without_a_single_input(chain: str) -> None:
    inputs = definition(chain).inputs
    assert inputs
    assert [name for name, declared in inputs.items() if declared.is_required or not declared.description] == []


@pytest.mark.parametrize("chain", SIX)
def test_the_embedded_stacks_table_has_an_engine_for_every_step(chain: str) -> None:
    table = UseCases(USE_CASES, {"argo": EngineKind.ARGO, "kfp": EngineKind.KFP})
    settled = table.settle(definition(chain)).definition
    assert {step.engine for step in settled.steps.values()} <= {"argo", "kfp"}


def test_every_row_of_the_table_has_a_chain_of_its_name_and_the_hybrid_one_is_on_both() -> None:
    for chain in USE_CASES:
        assert chain in {step.use_case for step in definition(chain).steps.values()}
    assert {step.engine for step in definition("hybrid-training").steps.values()} == {"argo", "kfp"}
    assert {*USE_CASES, "hybrid-training"} == set(SIX)


def test_the_evaluation_can_move_to_either_kind_of_engine() -> None:
    assert set(definition("model-evaluation").steps["evaluate"].files) == {EngineKind.ARGO, EngineKind.KFP}


@pytest.mark.parametrize(("chain", "file"), MANIFESTS)
def test_a_manifest_is_a_workflow_to_argos_own_model_whose_scripts_compile(chain: str, file: str) -> None:
    spec = workflow(chain, file).spec
    names = {template.name for template in templates(chain, file)}
    assert spec.entrypoint in names
    assert spec.on_exit is None or spec.on_exit in names
    for template in templates(chain, file):
        if template.script is not None:
            assert template.script.command == ["python"]
            assert template.script.source is not None
            compile(template.script.source, f"{chain}/{file}:{template.name}", "exec")


@pytest.mark.parametrize(("chain", "file"), FILES)
def test_every_image_is_one_that_a_sandbox_and_a_cluster_can_run(chain: str, file: str) -> None:
    table = ImageTable.load([CATALOG / "images.toml"])
    images = {str(image) for image in values_of(yaml.safe_load((CATALOG / chain / file).read_text()), "image")}
    assert images
    assert [image for image in images if image != STANDARD_LIBRARY and table.lookup(image) is None] == []


@pytest.mark.parametrize(("chain", "file"), FILES)
def test_nothing_ties_a_chain_to_one_installation(chain: str, file: str) -> None:
    document = yaml.safe_load((CATALOG / chain / file).read_text())
    for key in ("endpoint", "bucket", "insecure", "accessKeySecret", "namespace", "serviceAccountName", "hostPath"):
        assert list(values_of(document, key)) == [], f"{chain}/{file} sets {key}"


@pytest.mark.parametrize(("chain", "file"), MANIFESTS)
def test_inputs_have_the_defaults_of_the_manifest_that_they_are_handed_to(chain: str, file: str) -> None:
    """So `argo submit` of the manifest alone does what the chain does."""
    inputs = definition(chain).inputs
    arguments = workflow(chain, file).spec.arguments
    assert arguments is not None
    for parameter in arguments.parameters or []:
        assert parameter.name is not None
        assert parameter.value == str(inputs[parameter.name.replace("-", "_")].default), parameter.name


@pytest.mark.parametrize("chain", SIX)
def test_the_readme_names_every_input_and_output_and_how_to_run_it(chain: str) -> None:
    readme = (CATALOG / chain / "README.md").read_text()
    assert f"meta run {chain} --follow" in readme
    found = definition(chain)
    assert [name for name in (*found.inputs, *found.outputs, *found.steps) if f"`{name}`" not in readme] == []
