"""`meta sandbox support` says what the code does."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from meta.sandbox.argo.support import support as argo_support
from meta.sandbox.kfp.support import support as kfp_support
from meta.sandbox.support import Entry, Level


def level_of(entries: list[Entry], area: str, name: str) -> Level:
    return next(entry.level for entry in entries if (entry.area, entry.name) == (area, name))


def test_the_argo_list_follows_tables_and_routes() -> None:
    found = argo_support()
    assert level_of(found, "Template", "suspend") is Level.SUPPORTED
    assert level_of(found, "Template", "plugin") is Level.REFUSED
    assert level_of(found, "WorkflowSpec", "tolerations") is Level.APPROXIMATED
    assert level_of(found, "API", "PUT /api/v1/workflows/{namespace}/{name}/retry") is Level.SUPPORTED
    assert level_of(found, "API", "POST /api/v1/sensors/{namespace}") is Level.REFUSED


def test_the_kfp_list_follows_tables_and_routes() -> None:
    found = kfp_support()
    assert level_of(found, "API", "POST /apis/v2beta1/runs/{run_id}:terminate") is Level.SUPPORTED
    assert level_of(found, "API", "POST /apis/v2beta1/recurringruns") is Level.REFUSED
    assert level_of(found, "PipelineSpec.root.dag.tasks", "artifactIterator") is Level.REFUSED
    assert level_of(found, "platforms.kubernetes.deploymentSpec.executors.*", "nodeSelector") is Level.APPROXIMATED


@pytest.mark.parametrize("engine", ["argo", "kfp"])
def test_the_command_prints_one_level_for_people_and_for_programs(engine: str) -> None:
    shown = CliRunner().invoke(app, ["sandbox", "support", engine, "--level", "refused", "--output", "json"])
    entries = json.loads(shown.stdout)[engine]
    assert entries and {entry["level"] for entry in entries} == {"refused"}
    text = CliRunner().invoke(app, ["sandbox", "support", engine, "--level", "refused"]).stdout
    assert all(entry["name"] in text for entry in entries if entry["area"] == "API")
