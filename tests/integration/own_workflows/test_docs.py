"""Every block of docs/own-workflows.md runs, on the files that a reader would have."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import snippets
from tests.integration.own_workflows.conftest import MANIFEST, Theirs
from workflows.outcome import FailureClass, Outcome

TRAIN = """\
pipelineInfo: {name: train}
deploymentSpec: {executors: {}}
root:
  dag: {tasks: {}}
  inputDefinitions:
    parameters:
      dataset_uri: {parameterType: STRING}
      rows: {parameterType: NUMBER_INTEGER}
  outputDefinitions:
    parameters: {accuracy: {parameterType: NUMBER_DOUBLE}}
"""


async def test_the_workflows_of_the_page_run(theirs: Theirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, setup, fallback = (one.text for one in snippets("python", pages=("docs/own-workflows.md",)))
    (tmp_path / "page_of_flows.py").write_text(first + fallback)  # the sandbox imports a module of a name
    (tmp_path / "page_of_setup.py").write_text(setup)
    (theirs.files / "train.yaml").write_text(TRAIN)
    for name in ("deploy", "rollback"):
        (theirs.files / f"{name}.yaml").write_text(MANIFEST)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)  # `files="manifests"`
    flows: Any = importlib.import_module("page_of_flows")
    page: Any = importlib.import_module("page_of_setup")
    temporal = theirs.client.service_client.config.target_host
    async with asyncio.timeout(60):
        assert await page.main(temporal, theirs.rig.address, [flows.TrainAndDeploy, flows.WithFallback]) == 0.93
        assert theirs.kfp.submitted[0].parameters == {"rows": 12}
        theirs.argo.script["deploy"] = [Outcome(failure=FailureClass.FAILED, message="no disk")]
        async with theirs.worker([flows.WithFallback]):
            result = await (await theirs.start(flows.WithFallback.run)).result()
    assert result.startswith("rolled back: ")
    assert theirs.argo.steps() == ["prepare", "deploy", "rollback"]
