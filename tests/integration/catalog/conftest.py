"""Runs the catalogue's steps without an engine: a template's script, a compiled pipeline; in the image's Python."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import yaml

import workflows
from meta.sandbox.environments import EnvironmentCache
from meta.sandbox.images import ImageTable
from workflows.values import JsonObject

CATALOG = Path(workflows.__file__).parent / "catalog"
CHAIN = CATALOG / "hybrid-training"
IMAGE = "meta-workflows/digits:1"
ENVIRONMENTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meta-workflows" / "environments"
"""Kept between sessions: what a minute's download fills the first time."""

_RUN_PIPELINE = """
import json, sys
from kfp import components, local

package, root, arguments, outputs = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
task = components.load_component_from_file(package)(**json.loads(arguments))
values = {name: getattr(value, "path", value) for name, value in task.outputs.items()}
with open(outputs, "w") as file:
    json.dump(values, file)
"""


@dataclass(frozen=True)
class Done:
    """How a step ended, with its log. Outputs of artifacts are files."""

    code: int
    log: str
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    artifacts: dict[str, Path] = field(default_factory=dict[str, Path])


class Steps:
    """The image's Python, and how to run steps of either engine with it."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._env = {"PATH": f"{python.parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def run(self, folder: Path, *command: str | Path, env: Mapping[str, str] | None = None) -> Done:
        folder.mkdir(parents=True, exist_ok=True)
        ended = subprocess.run(
            [self.python, *command],
            cwd=folder,
            env={**self._env, "HOME": str(folder), "TMPDIR": str(folder), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(ended.returncode, ended.stdout)

    def template(
        self,
        folder: Path,
        manifest: str,
        name: str,
        *,
        parameters: Mapping[str, str] | None = None,
        artifacts: Mapping[str, Path] | None = None,
    ) -> Done:
        """Run a script template of an Argo manifest; `/tmp` is `folder`."""
        template = template_of(manifest, name)
        folder.mkdir(parents=True, exist_ok=True)
        for artifact in _entries(template, "inputs", "artifacts"):
            given = (artifacts or {}).get(str(artifact["name"]))
            if given is not None:
                _inside(folder, str(artifact["path"])).write_bytes(given.read_bytes())
        known = {f"inputs.parameters.{key}": value for key, value in (parameters or {}).items()}
        known["workflow.name"] = "by-hand"
        script = cast("dict[str, object]", template["script"])
        env = {
            str(entry["name"]): re.sub(r"\{\{(.+?)\}\}", lambda match: known[match[1]], str(entry["value"]))
            for entry in cast("list[dict[str, object]]", script.get("env", []))
        }
        done = self.run(folder, "-c", str(script["source"]).replace("/tmp/", f"{folder}/"), env=env)
        if done.code:
            return done
        outputs = {
            str(entry["name"]): _inside(folder, str(cast("dict[str, object]", entry["valueFrom"])["path"])).read_text()
            for entry in _entries(template, "outputs", "parameters")
        }
        files = {
            str(entry["name"]): _inside(folder, str(entry["path"]))
            for entry in _entries(template, "outputs", "artifacts")
        }
        assert all(file.is_file() for file in files.values()), files
        return Done(done.code, done.log, outputs, files)

    def pipeline(self, folder: Path, package: str, arguments: JsonObject) -> tuple[Done, JsonObject]:
        """Run a compiled pipeline with KFP's local runner; returns its declared outputs too."""
        outputs = folder / "outputs.json"
        done = self.run(folder, "-c", _RUN_PIPELINE, CHAIN / package, folder / "root", json.dumps(arguments), outputs)
        values = cast("JsonObject", json.loads(outputs.read_text())) if outputs.exists() else {}
        return done, values


def template_of(manifest: str, name: str) -> dict[str, object]:
    document = yaml.safe_load((CHAIN / manifest).read_text())
    templates = cast("list[dict[str, object]]", document["spec"]["templates"])
    return next(template for template in templates if template["name"] == name)


def _entries(template: dict[str, object], side: str, kind: str) -> list[dict[str, object]]:
    return cast("dict[str, list[dict[str, object]]]", template.get(side, {})).get(kind, [])


def _inside(folder: Path, path: str) -> Path:
    return folder / path.removeprefix("/tmp/")


@pytest.fixture(scope="session")
def steps() -> Steps:
    image = ImageTable.load([CATALOG / "images.toml"]).lookup(IMAGE)
    assert image is not None
    return Steps(asyncio.run(EnvironmentCache(ENVIRONMENTS).prepare(image.requirements)) / "bin" / "python")
