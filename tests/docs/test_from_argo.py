"""docs/from-argo.md: its commands run, its definition is what the import writes, its DAG fits the template."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hera.workflows import models as m
from typer.main import get_command
from typer.testing import CliRunner

from meta.cli.app import app
from meta.importing.importer import Options, import_file
from tests.docs.pages import ROOT, Snippet, snippets

PAGE = ("docs/from-argo.md",)
TEMPLATE = yaml.safe_load((ROOT / "deploy" / "argo" / "meta-trigger.yaml").read_text())


def block(language: str, start: str) -> Snippet:
    (found,) = [one for one in snippets(language, pages=PAGE) if start in one.text]
    return found


def test_the_sensor_is_imported_to_the_definition_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sensor.yaml").write_text(block("yaml", "kind: Sensor").text)
    for line in block("console", "meta import sensor.yaml").commands:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
        if "import" in line:
            assert block("text", "not carried over").text in result.output
    assert Path("ingest/workflow.yaml").read_text() == block("yaml", "kind: MetaWorkflow").text
    assert Path("ingest/ingest.yaml").exists()


def test_the_dag_gives_the_template_what_it_takes() -> None:
    document = yaml.safe_load(block("yaml", "kind: Workflow\nmetadata: {generateName: nightly-}").text)
    m.Workflow.model_validate(document)
    (task,) = [one for one in document["spec"]["templates"][0]["dag"]["tasks"] if "templateRef" in one]
    (target,) = [one for one in TEMPLATE["spec"]["templates"] if one["name"] == task["templateRef"]["template"]]
    assert task["templateRef"]["name"] == TEMPLATE["metadata"]["name"]
    takes = {one["name"]: "value" in one for one in target["inputs"]["parameters"]}
    gives = {one["name"] for one in task["arguments"]["parameters"]}
    assert gives <= set(takes)
    assert {name for name, optional in takes.items() if not optional} <= gives


@pytest.mark.parametrize("template", TEMPLATE["spec"]["templates"], ids=lambda one: one["name"])
def test_every_parameter_of_the_templates_is_explained(template: dict[str, Any]) -> None:
    page = (ROOT / PAGE[0]).read_text()
    table = page.partition(f"| Parameter of `{template['name']}` |")[2].partition("\n\n")[0]
    assert all(f"`{one['name']}`" in table for one in template["inputs"]["parameters"])
    assert all(f"`{one['name']}`" in page for one in template["outputs"]["parameters"])


def test_the_commands_have_the_options_that_are_shown() -> None:
    commands = cast("dict[str, Any]", getattr(get_command(app), "commands"))  # noqa: B009 -- typer keeps click private
    for snippet in snippets("console", pages=PAGE):
        for line in snippet.commands:
            program, name, *words = shlex.split(line)
            if program == "meta":
                known = {option for parameter in commands[name].params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= known, line


def test_a_template_with_these_options_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "kfp-trigger.yaml"
    body = '{"pipeline_version_reference": {"pipeline_id": "{{inputs.parameters.pipeline-id}}"}}'
    http = {"url": "http://kfp/apis/v2beta1/runs", "method": "POST", "body": body}
    template = {"name": "start", "inputs": {"parameters": [{"name": "pipeline-id"}]}, "http": http}
    spec = {"entrypoint": "start", "templates": [template]}
    file.write_text(yaml.safe_dump({"kind": "WorkflowTemplate", "metadata": {"name": "kfp-trigger"}, "spec": spec}))
    options = Options(subjects={"": "ml.requests"}, pipelines={"5f1c": "training"}, parameters={"pipeline-id": "5f1c"})
    made = import_file(file, options)
    assert made.problems == []
    assert made.drafts[0].steps[0].source == {"kfp": {"pipeline": "training"}}
