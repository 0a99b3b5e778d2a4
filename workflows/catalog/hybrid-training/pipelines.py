"""The chain's two Kubeflow pipelines, in the KFP DSL.

    python workflows/catalog/hybrid-training/pipelines.py [FOLDER]

writes train.yaml and evaluate.yaml beside this file, or into FOLDER. The compiled files are committed: they are what a
run submits, so that nothing compiles when a chain starts.

Artifacts come in as URIs, because a KFP run takes no artifacts as arguments: `dsl.importer` turns each into one. The
functions import what they need themselves, because KFP sends their source alone to the container; it reads the
annotations as they are, so there is no `from __future__ import annotations` here.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Metrics, Model, Output

IMAGE = "meta-workflows/digits:1"  # has kfp and scikit-learn, so nothing is installed when a component starts


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    *,
    dataset: Input[Dataset],
    learning_rate: float,
    hidden_units: int,
    epochs: int,
    seed: int,
    model: Output[Model],
    metrics: Output[Metrics],
) -> float:
    """Train a classifier of digits, one hidden layer by gradient descent with momentum; returns its last loss."""
    import json

    import joblib
    import numpy as np
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    if not (learning_rate > 0 and hidden_units > 0 and epochs > 0):
        raise ValueError(
            "learning_rate, hidden_units and epochs must be above zero, "
            f"not {learning_rate}, {hidden_units} and {epochs}"
        )
    with np.load(dataset.path) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]

    # Four more copies of every image, each moved by one pixel: a digit is the same digit wherever it stands.
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moved = [
        padded[:, 1 + down : 9 + down, 1 + right : 9 + right].reshape(-1, 64)
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    many_images, many_labels = np.concatenate([images, *moved]), np.tile(labels, 5)
    print(f"training on {len(images)} images, {len(many_images)} with the moved ones", flush=True)

    classifier = MLPClassifier(
        hidden_layer_sizes=(hidden_units,),
        solver="sgd",
        learning_rate_init=learning_rate,
        momentum=0.9,
        batch_size=64,
        random_state=seed,
    )
    with threadpool_limits(1):  # sums in one order: the same seed gives the same model
        for epoch in range(1, epochs + 1):
            try:
                classifier.partial_fit(many_images, many_labels, classes=np.arange(10))
            except ValueError as error:  # weights that are no longer finite
                raise ValueError(f"epoch {epoch} diverged: lower the learning_rate of {learning_rate}") from error
            print(f"epoch {epoch}/{epochs}: loss {classifier.loss_:.5f}", flush=True)
        accuracy = float(classifier.score(images, labels))

    joblib.dump(classifier, model.path)
    model.metadata.update(framework="scikit-learn", learning_rate=learning_rate, hidden_units=hidden_units)
    values = {"loss": float(classifier.loss_), "train_accuracy": accuracy, "epochs": epochs}
    for name, value in values.items():
        metrics.log_metric(name, value)
    with open(metrics.path, "w") as file:
        json.dump(values, file)
    print(f"accuracy on the training images: {accuracy:.4f}", flush=True)
    return float(classifier.loss_)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    model: Input[Model],
    dataset: Input[Dataset],
    metrics: Output[Metrics],
    confusion_matrix: Output[ClassificationMetrics],
) -> float:
    """Measure a classifier on images that it has not seen; returns the share it gets right, 0 to 1."""
    import json

    import joblib
    import numpy as np
    from sklearn.metrics import accuracy_score
    from sklearn.metrics import confusion_matrix as count_confusions

    with np.load(dataset.path) as arrays:
        images, labels = arrays["held_out_images"], arrays["held_out_labels"]
    answers = joblib.load(model.path).predict(images)
    accuracy = float(accuracy_score(labels, answers))
    digits = [str(digit) for digit in range(10)]
    matrix = count_confusions(labels, answers, labels=range(10)).tolist()

    values = {"accuracy": accuracy, "held_out_images": len(labels), "mistakes": int((labels != answers).sum())}
    for name, value in values.items():
        metrics.log_metric(name, value)
    with open(metrics.path, "w") as file:
        json.dump(values, file)
    confusion_matrix.log_confusion_matrix(digits, matrix)
    with open(confusion_matrix.path, "w") as file:
        json.dump({"labels": digits, "matrix": matrix}, file)
    print(f"accuracy on {len(labels)} held-out images: {accuracy:.4f}", flush=True)
    print("rows: the digit, columns: the answer", *matrix, sep="\n", flush=True)
    return accuracy


class TrainOutputs(NamedTuple):
    """What a run of the train pipeline gives."""

    model: Model
    metrics: Metrics
    loss: float


class EvaluateOutputs(NamedTuple):
    """What a run of the evaluate pipeline gives."""

    accuracy: float
    metrics: Metrics
    confusion_matrix: ClassificationMetrics


@dsl.pipeline(name="digits-train", description="Trains a classifier of handwritten digits.")
def train_pipeline(
    dataset_uri: str,
    learning_rate: float = 0.05,
    hidden_units: int = 64,
    epochs: int = 60,
    seed: int = 7,
) -> TrainOutputs:
    dataset = dsl.importer(artifact_uri=dataset_uri, artifact_class=Dataset)
    outputs = train(
        dataset=dataset.output,
        learning_rate=learning_rate,
        hidden_units=hidden_units,
        epochs=epochs,
        seed=seed,
    ).outputs
    return TrainOutputs(
        model=outputs["model"],
        metrics=outputs["metrics"],
        loss=outputs["Output"],
    )


@dsl.pipeline(name="digits-evaluate", description="Measures a classifier of handwritten digits on held-out images.")
def evaluate_pipeline(model_uri: str, dataset_uri: str) -> EvaluateOutputs:
    model = dsl.importer(artifact_uri=model_uri, artifact_class=Model)
    model.set_display_name("import-model")
    dataset = dsl.importer(artifact_uri=dataset_uri, artifact_class=Dataset)
    dataset.set_display_name("import-dataset")
    outputs = evaluate(model=model.output, dataset=dataset.output).outputs
    return EvaluateOutputs(
        accuracy=outputs["Output"],
        metrics=outputs["metrics"],
        confusion_matrix=outputs["confusion_matrix"],
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    compiler.Compiler().compile(train_pipeline, str(folder / "train.yaml"))
    compiler.Compiler().compile(evaluate_pipeline, str(folder / "evaluate.yaml"))


if __name__ == "__main__":
    main()
