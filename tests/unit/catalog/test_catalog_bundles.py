"""Every chain of the catalogue is a valid bundle, checked against the engines' own files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import workflows
from workflows.bundle import build_bundle, validate_bundle
from workflows.errors import DefinitionInvalid

CATALOG = Path(workflows.__file__).parent / "catalog"
CHAINS = sorted(path.parent.name for path in CATALOG.glob("*/workflow.yaml"))


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_of_the_catalogue_is_valid_and_bears_its_folders_name(chain: str) -> None:
    bundle = build_bundle(CATALOG / chain / "workflow.yaml")
    assert bundle.definition.name == chain
    assert bundle.definition.metadata.description
    assert list(bundle.files) == [file for step in bundle.definition.steps.values() for file in step.files.values()]
    assert validate_bundle(bundle) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("workflow.yaml", "epochs: ${{ inputs.epochs }}", "epoch: ${{ inputs.epochs }}", "epoch"),
        ("workflow.yaml", "steps.prepare.artifacts.dataset }}", "steps.prepare.artifacts.data }}", "data"),
        ("evaluate.yaml", "model_uri", "classifier_uri", "classifier_uri"),
        ("deploy.yaml", "name: min-accuracy", "name: min-score", "min_accuracy"),
    ],
)
def test_hybrid_training_is_refused_when_its_files_no_longer_fit_together(
    tmp_path: Path, file: str, old: str, new: str, complaint: str
) -> None:
    shutil.copytree(CATALOG / "hybrid-training", tmp_path / "chain")
    path = tmp_path / "chain" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DefinitionInvalid, match=complaint):
        build_bundle(tmp_path / "chain" / "workflow.yaml")
