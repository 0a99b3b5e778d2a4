"""The chain's two Kubeflow pipelines, in the KFP DSL.

    python workflows/catalog/model-evaluation/pipelines.py [FOLDER]

writes train.yaml and evaluate.yaml beside this file, or into FOLDER; both are committed. `evaluate-argo.yaml` does what
evaluate.yaml does, as an Argo manifest: which of the two runs is decided by the table of use cases.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

IMAGE = "meta-workflows/digits:1"  # has kfp and scikit-learn, so nothing is installed when a component starts


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(images: int, seed: int, model: Output[Model], held_out: Output[Dataset]) -> float:
    """Train a classifier of handwritten digits on so many images; returns its accuracy on those."""
    import joblib
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    pictures, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    pictures, digits = pictures[order] / 16, digits[order]
    # The last 500 are never learnt from, whatever `images` says: all models are judged by the same ones.
    most = len(digits) - 500
    if not 50 <= images <= most:
        raise ValueError(f"images must be between 50 and {most}, not {images}")
    classifier = LogisticRegression(C=1.0, max_iter=500).fit(pictures[:images], digits[:images])
    joblib.dump(classifier, model.path)
    model.metadata.update(framework="scikit-learn", images=images)
    with open(held_out.path, "wb") as file:
        np.savez(file, images=pictures[most:], labels=digits[most:])
    accuracy = float(classifier.score(pictures[:images], digits[:images]))
    print(f"trained on {images} images: {accuracy:.4f} of them right", flush=True)
    return accuracy


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(
    candidate: Input[Model], current: Input[Model], held_out: Input[Dataset], doubt: float, metrics: Output[Metrics]
) -> NamedTuple(
    "Compared",
    [("verdict", str), ("accuracy", float), ("current_accuracy", float), ("gained", int), ("lost", int)],
):
    """Compare a candidate with the current model by what only one of them gets right; see `verdict`.

    An exact sign test: were the two equally good, each image that only one gets right would be either's with even
    odds. A difference counts when such a one or a larger would come about by chance with at most `doubt`.
    """
    import json
    import math

    import joblib
    import numpy as np

    with np.load(held_out.path) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    new, old = (joblib.load(model.path).predict(images) == labels for model in (candidate, current))
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    differ = gained + lost
    chance = sum(math.comb(differ, k) for k in range(max(gained, lost), differ + 1)) * 2 / 2**differ
    verdict = "same" if chance > doubt else "better" if gained > lost else "worse"
    values = {
        "accuracy": float(new.mean()), "current_accuracy": float(old.mean()),
        "gained": gained, "lost": lost, "chance": min(chance, 1.0),
    }  # fmt: skip
    for name, value in values.items():
        metrics.log_metric(name, value)
    with open(metrics.path, "w") as file:
        json.dump({"verdict": verdict, **values}, file)
    print(f"candidate {values['accuracy']:.4f}, current {values['current_accuracy']:.4f} of {len(labels)} images")
    print(f"{gained} gained, {lost} lost, by chance with {values['chance']:.2g}: {verdict}", flush=True)
    return (verdict, values["accuracy"], values["current_accuracy"], gained, lost)


class TrainOutputs(NamedTuple):
    """What a run of the train pipeline gives."""

    candidate: Model
    current: Model
    held_out: Dataset


class EvaluateOutputs(NamedTuple):
    """What a run of the evaluate pipeline gives."""

    verdict: str
    accuracy: float
    current_accuracy: float
    gained: int
    lost: int
    metrics: Metrics


@dsl.pipeline(name="digits-candidate", description="Trains a candidate, and the model that stands for the current one.")
def train_pipeline(images: int = 800, current_images: int = 100, seed: int = 7) -> TrainOutputs:
    candidate = train(images=images, seed=seed)
    candidate.set_display_name("train-candidate")
    current = train(images=current_images, seed=seed)
    current.set_display_name("train-current")
    return TrainOutputs(
        candidate=candidate.outputs["model"],
        current=current.outputs["model"],
        held_out=candidate.outputs["held_out"],
    )


@dsl.pipeline(name="digits-compare", description="Compares a candidate with the current model, on held-out images.")
def evaluate_pipeline(candidate_uri: str, current_uri: str, held_out_uri: str, doubt: float = 0.05) -> EvaluateOutputs:
    # A KFP run takes no artifacts as arguments: their URIs come in, and an importer makes an artifact of each.
    candidate = dsl.importer(artifact_uri=candidate_uri, artifact_class=Model)
    candidate.set_display_name("import-candidate")
    current = dsl.importer(artifact_uri=current_uri, artifact_class=Model)
    current.set_display_name("import-current")
    held_out = dsl.importer(artifact_uri=held_out_uri, artifact_class=Dataset)
    held_out.set_display_name("import-held-out")
    outputs = compare(candidate=candidate.output, current=current.output, held_out=held_out.output, doubt=doubt).outputs
    return EvaluateOutputs(
        verdict=outputs["verdict"],
        accuracy=outputs["accuracy"],
        current_accuracy=outputs["current_accuracy"],
        gained=outputs["gained"],
        lost=outputs["lost"],
        metrics=outputs["metrics"],
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    compiler.Compiler().compile(train_pipeline, str(folder / "train.yaml"))
    compiler.Compiler().compile(evaluate_pipeline, str(folder / "evaluate.yaml"))


if __name__ == "__main__":
    main()
