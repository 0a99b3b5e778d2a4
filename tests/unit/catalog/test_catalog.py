"""The catalogue's files agree with each other, with their sources, and with what a real cluster needs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import yaml
from hera.workflows.models import Workflow

import workflows
from meta.sandbox.images import ImageTable

CATALOG = Path(workflows.__file__).parent / "catalog"
CHAIN = CATALOG / "hybrid-training"
MANIFESTS = ["prepare.yaml", "deploy.yaml"]
PACKAGES = ["train.yaml", "evaluate.yaml"]


def values_of(document: object, key: str) -> Iterator[object]:
    """Every value of a key, however deep."""
    if isinstance(document, dict):
        for name, value in cast("dict[str, object]", document).items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(document, list):
        for item in cast("list[object]", document):
            yield from values_of(item, key)


def load(file: str) -> dict[str, object]:
    return cast("dict[str, object]", yaml.safe_load((CHAIN / file).read_text()))


def test_the_compiled_pipelines_are_what_their_source_compiles_to(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CHAIN / "pipelines.py", tmp_path], check=True, timeout=120)
    for package in PACKAGES:
        assert (CHAIN / package).read_text() == (tmp_path / package).read_text(), (
            f"{package} is out of date: run python workflows/catalog/hybrid-training/pipelines.py"
        )


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_manifests_are_workflows_to_argos_own_model(manifest: str) -> None:
    workflow = Workflow.model_validate(load(manifest))
    names = {template.name for template in workflow.spec.templates or []}
    assert workflow.spec.entrypoint in names


@pytest.mark.parametrize("file", [*MANIFESTS, *PACKAGES])
def test_every_image_is_in_the_table(file: str) -> None:
    table = ImageTable.load([CATALOG / "images.toml"])
    images = {str(image) for image in values_of(load(file), "image")}
    assert images
    assert all(table.lookup(image) is not None for image in images), images


@pytest.mark.parametrize("file", ["workflow.yaml", *MANIFESTS, *PACKAGES])
def test_nothing_in_the_chain_ties_it_to_one_installation(file: str) -> None:
    document = load(file)
    for key in ("endpoint", "bucket", "insecure", "accessKeySecret", "namespace", "serviceAccountName", "hostPath"):
        assert list(values_of(document, key)) == [], f"{file} sets {key}"
    text = (CHAIN / file).read_text()
    assert not re.search(r"localhost|s3://|file://|https?://|pip3? install", text)


def test_inputs_have_the_defaults_of_what_they_are_handed_to() -> None:
    defaults = {
        name: value["default"]
        for name, value in cast("dict[str, dict[str, object]]", load("workflow.yaml")["inputs"]).items()
    }
    root = cast("dict[str, dict[str, dict[str, dict[str, object]]]]", load("train.yaml")["root"])
    declared = root["inputDefinitions"]["parameters"]
    assert {name for name, value in declared.items() if "defaultValue" in value} == {
        "learning_rate",
        "hidden_units",
        "epochs",
        "seed",
    }
    for name, value in declared.items():
        if "defaultValue" in value:
            assert defaults[name] == value["defaultValue"], name
    for manifest in MANIFESTS:
        workflow = Workflow.model_validate(load(manifest))
        assert workflow.spec.arguments is not None
        for parameter in workflow.spec.arguments.parameters or []:
            assert parameter.name is not None
            assert str(defaults[parameter.name.replace("-", "_")]) == parameter.value, parameter.name


def test_the_data_set_is_kept_under_its_digest_so_that_equal_inputs_hit_kfps_cache() -> None:
    templates = cast("list[dict[str, object]]", cast("dict[str, object]", load("prepare.yaml")["spec"])["templates"])
    (validate,) = (template for template in templates if template["name"] == "validate")
    outputs = cast("dict[str, list[dict[str, object]]]", validate["outputs"])["artifacts"]
    assert outputs == [
        {
            "name": "dataset",
            "path": "/tmp/dataset.npz",
            "archive": {"none": {}},
            "s3": {"key": "datasets/digits/{{inputs.parameters.digest}}/dataset.npz"},
        }
    ]


def requirements(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(), flags=re.MULTILINE))


def test_the_images_requirements_are_pinned_with_hashes_and_name_no_index() -> None:
    text = (CATALOG / "digits.txt").read_text()
    assert "://" not in text
    assert "--index" not in text
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert {"kfp", "docker", "scikit-learn", "numpy", "joblib", "setuptools"} <= set(
        requirements(CATALOG / "digits.txt")
    )
    for entry in entries:
        assert "==" in entry.split()[0], entry.split()[0]
        assert "--hash=sha256:" in entry, entry.split()[0]


def test_the_image_runs_the_versions_that_the_service_is_locked_to() -> None:
    ours = requirements(CATALOG.parent.parent / "requirements.lock")
    theirs = requirements(CATALOG / "digits.txt")
    shared = {name for name in theirs if name in ours}
    assert "kfp" in shared
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


def test_the_clusters_image_is_built_from_the_same_requirements() -> None:
    dockerfile = (CATALOG.parent.parent / "deploy" / "images" / "digits" / "Dockerfile").read_text()
    assert "COPY digits.txt" in dockerfile
    assert "--tag meta-workflows/digits:1" in dockerfile
    assert dockerfile.count("pip install") == dockerfile.count("--require-hashes")
