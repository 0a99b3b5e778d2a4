"""Every step of the chain on its own, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from tests.integration.catalog.conftest import Done, Steps


def prepare(steps: Steps, folder: Path, *, seed: int = 7, held_out: float = 0.25) -> Done:
    given = {"seed": str(seed), "held-out": str(held_out)}
    split = steps.template(folder / "split", "prepare.yaml", "split", parameters=given)
    assert split.code == 0, split.log
    normalised = steps.template(folder / "normalise", "prepare.yaml", "normalise", artifacts=split.artifacts)
    assert normalised.code == 0, normalised.log
    return steps.template(
        folder / "validate",
        "prepare.yaml",
        "validate",
        parameters=normalised.parameters,
        artifacts=normalised.artifacts,
    )


@pytest.fixture(scope="session")
def dataset(steps: Steps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepared = prepare(steps, tmp_path_factory.mktemp("prepare"))
    assert prepared.code == 0, prepared.log
    return prepared.artifacts["dataset"]


@pytest.fixture(scope="session")
def model(steps: Steps, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    done, outputs = steps.pipeline(folder, "train.yaml", {"dataset_uri": str(dataset), "epochs": 5})
    assert done.code == 0, done.log
    assert "epoch 5/5: loss" in done.log
    assert cast("float", outputs["loss"]) < 0.5
    assert json.loads(Path(str(outputs["metrics"])).read_text())["epochs"] == 5
    return Path(str(outputs["model"]))


@pytest.mark.prove
def test_the_data_set_holds_every_image_and_is_the_same_for_the_same_inputs(
    steps: Steps, dataset: Path, tmp_path: Path
) -> None:
    again, other = prepare(steps, tmp_path / "again"), prepare(steps, tmp_path / "other", seed=8, held_out=0.5)
    assert again.parameters == {"train-rows": "1347", "held-out-rows": "450"}
    assert again.artifacts["dataset"].read_bytes() == dataset.read_bytes()
    assert other.parameters == {"train-rows": "898", "held-out-rows": "899"}
    assert other.artifacts["dataset"].read_bytes() != dataset.read_bytes()


def test_a_leak_from_training_into_the_held_out_images_is_refused(steps: Steps, dataset: Path, tmp_path: Path) -> None:
    leaky = tmp_path / "leaky.npz"
    spoil = (
        "import sys, numpy as np\n"
        "parts = dict(np.load(sys.argv[1]))\n"
        "parts['held_out_images'][0] = parts['train_images'][0] + 0\n"
        "parts['train_images'][1, 0] = 7\n"
        "np.savez(sys.argv[2], **parts)\n"
    )
    assert steps.run(tmp_path, "-c", spoil, dataset, leaky).code == 0
    done = steps.template(
        tmp_path / "pod", "prepare.yaml", "validate", parameters={"digest": "0" * 64}, artifacts={"candidate": leaky}
    )
    assert done.code != 0
    assert "the file is not the one that was normalised" in done.log
    assert "train: pixels that are not between 0 and 1" in done.log
    assert "1 held-out images are also trained on" in done.log


def test_evaluation_counts_what_the_model_gets_right(steps: Steps, model: Path, dataset: Path, tmp_path: Path) -> None:
    done, outputs = steps.pipeline(tmp_path, "evaluate.yaml", {"model_uri": str(model), "dataset_uri": str(dataset)})
    assert done.code == 0, done.log
    accuracy = cast("float", outputs["accuracy"])
    assert 0.9 < accuracy <= 1
    confusions = json.loads(Path(str(outputs["confusion_matrix"])).read_text())
    assert confusions["labels"] == [str(digit) for digit in range(10)]
    assert sum(map(sum, confusions["matrix"])) == 450
    assert sum(confusions["matrix"][digit][digit] for digit in range(10)) == round(accuracy * 450)


@pytest.mark.prove
def test_the_same_seed_trains_the_same_model(steps: Steps, dataset: Path, tmp_path: Path) -> None:
    given = {"dataset_uri": str(dataset), "epochs": 1, "hidden_units": 8}
    losses: list[object] = []
    for number, seed in enumerate((7, 7, 8)):
        done, outputs = steps.pipeline(tmp_path / str(number), "train.yaml", {**given, "seed": seed})
        assert done.code == 0, done.log
        losses.append((outputs["loss"], Path(str(outputs["model"])).read_bytes()))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "must be above zero"),
        ({"learning_rate": 1e6, "epochs": 3}, "epoch 1 diverged: lower the learning_rate of 1000000.0"),
    ],
)
def test_training_that_cannot_work_fails_and_says_why(
    steps: Steps, dataset: Path, tmp_path: Path, given: dict[str, float], message: str
) -> None:
    done, _ = steps.pipeline(tmp_path, "train.yaml", {"dataset_uri": str(dataset), **given})
    assert done.code != 0
    assert message in done.log


def test_a_model_is_staged_under_its_digest_tried_over_http_and_promoted(
    steps: Steps, model: Path, dataset: Path, tmp_path: Path
) -> None:
    named = steps.template(tmp_path / "fingerprint", "deploy.yaml", "fingerprint", artifacts={"model": model})
    version = named.parameters["version"]
    staged = steps.template(
        tmp_path / "stage", "deploy.yaml", "stage", parameters={"version": version}, artifacts={"model": model}
    )
    assert staged.artifacts["model"].read_bytes() == model.read_bytes()
    tried = steps.template(
        tmp_path / "smoke",
        "deploy.yaml",
        "smoke-test",
        parameters={"min-accuracy": "0.9"},
        artifacts={"model": staged.artifacts["model"], "dataset": dataset},
    )
    assert tried.code == 0, tried.log
    assert "over 9 requests" in tried.log
    assert 0.9 < float(tried.parameters["accuracy"]) <= 1

    pointers: list[dict[str, object]] = []
    current: dict[str, Path] = {}
    for number, name in enumerate([version, "next", "next"]):
        promoted = steps.template(
            tmp_path / f"promote-{number}",
            "deploy.yaml",
            "promote",
            parameters={"version": name, **tried.parameters},
            artifacts=current,
        )
        assert promoted.code == 0, promoted.log
        current = {"previous": promoted.artifacts["current"]}
        pointers.append(json.loads(promoted.artifacts["current"].read_text()))
    assert [(pointer["version"], pointer["previous"]) for pointer in pointers] == [
        (version, None),
        ("next", version),
        ("next", version),  # promoted again: the way back still leads to the one before
    ]
    assert pointers[0]["key"] == f"registry/digits/{version}/model.joblib"


def test_the_first_promotion_bears_the_folder_that_kubernetes_mounts_for_a_file_that_is_not_there(
    steps: Steps, tmp_path: Path
) -> None:
    (tmp_path / "previous.json").mkdir()
    done = steps.template(tmp_path, "deploy.yaml", "promote", parameters={"version": "first", "accuracy": "0.95"})
    assert done.code == 0, done.log
    assert json.loads(done.artifacts["current"].read_text())["previous"] is None


def test_a_model_that_answers_badly_is_not_promoted(steps: Steps, model: Path, dataset: Path, tmp_path: Path) -> None:
    done = steps.template(
        tmp_path,
        "deploy.yaml",
        "smoke-test",
        parameters={"min-accuracy": "1.01"},
        artifacts={"model": model, "dataset": dataset},
    )
    assert done.code != 0
    assert "is below the 1.01 that was asked for" in done.log


def test_what_is_no_model_is_not_staged(steps: Steps, dataset: Path, tmp_path: Path) -> None:
    done = steps.template(tmp_path, "deploy.yaml", "stage", parameters={"version": "x"}, artifacts={"model": dataset})
    assert done.code != 0
