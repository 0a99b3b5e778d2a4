"""The chain's Kubeflow pipeline, in the KFP DSL: split -> two models side by side -> the better one.

    python workflows/catalog/ml-training/pipelines.py [FOLDER]

writes train.yaml beside this file, or into FOLDER. The compiled file is committed: it is what a run submits.

Every component is cached by KFP: a task whose component, parameters and input artifacts are those of an earlier success
is not run again. So each component does one thing and takes only what it needs: a change of `trees` leaves the split
and the linear model as they are.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

IMAGE = "meta-workflows/digits:1"  # has kfp and scikit-learn, so nothing is installed when a component starts


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def split(held_out: float, seed: int, training: Output[Dataset], test: Output[Dataset]) -> int:
    """Split 178 wines into those to learn from and those to judge by; returns how many are learnt from."""
    import numpy as np
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split

    wines, cultivars = load_wine(return_X_y=True)
    # Every cultivar has the same share in both parts.
    parts = train_test_split(wines, cultivars, test_size=held_out, random_state=seed, stratify=cultivars)
    for output, measured, labels in ((training, parts[0], parts[2]), (test, parts[1], parts[3])):
        with open(output.path, "wb") as file:  # numpy would add .npz to the name of a path
            np.savez(file, wines=measured, cultivars=labels)
    print(f"{len(parts[2])} wines to learn from, {len(parts[3])} to judge by", flush=True)
    return len(parts[2])


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_linear(training: Input[Dataset], freedom: float, model: Output[Model], metrics: Output[Metrics]):
    """Train a linear model; the less freedom, the smaller its weights stay."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if freedom <= 0:
        raise ValueError(f"freedom must be above zero, not {freedom}")
    with np.load(training.path) as arrays:
        wines, cultivars = arrays["wines"], arrays["cultivars"]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=freedom)).fit(wines, cultivars)
    accuracy = float(classifier.score(wines, cultivars))
    joblib.dump(classifier, model.path)
    model.metadata.update(framework="scikit-learn", freedom=freedom)
    metrics.log_metric("training_accuracy", accuracy)
    print(f"linear, freedom {freedom}: {accuracy:.4f} of the wines that it has seen", flush=True)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_forest(training: Input[Dataset], trees: int, seed: int, model: Output[Model], metrics: Output[Metrics]):
    """Train a forest of so many trees."""
    import joblib
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    if trees <= 0:
        raise ValueError(f"trees must be above zero, not {trees}")
    with np.load(training.path) as arrays:
        wines, cultivars = arrays["wines"], arrays["cultivars"]
    classifier = RandomForestClassifier(n_estimators=trees, max_depth=3, random_state=seed).fit(wines, cultivars)
    accuracy = float(classifier.score(wines, cultivars))
    joblib.dump(classifier, model.path)
    model.metadata.update(framework="scikit-learn", trees=trees)
    metrics.log_metric("training_accuracy", accuracy)
    print(f"forest of {trees} trees: {accuracy:.4f} of the wines that it has seen", flush=True)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def choose(
    test: Input[Dataset], linear: Input[Model], forest: Input[Model], model: Output[Model], metrics: Output[Metrics]
) -> NamedTuple("Chosen", [("accuracy", float), ("chosen", str)]):
    """Judge both models by wines that neither has seen, and hand on the better one; of equals the linear one."""
    import json
    import shutil

    import joblib
    import numpy as np

    with np.load(test.path) as arrays:
        wines, cultivars = arrays["wines"], arrays["cultivars"]
    found = {"linear": linear.path, "forest": forest.path}
    scores = {kind: float(joblib.load(path).score(wines, cultivars)) for kind, path in found.items()}
    best = max(scores, key=scores.__getitem__)
    shutil.copyfile(found[best], model.path)
    model.metadata.update(framework="scikit-learn", kind=best)
    for kind, score in scores.items():
        metrics.log_metric(f"{kind}_accuracy", score)
        print(f"{kind}: {score:.4f} of {len(cultivars)} wines that it has not seen", flush=True)
    with open(metrics.path, "w") as file:
        json.dump(scores, file)
    print(f"chosen: {best}", flush=True)
    return (scores[best], best)


class Outputs(NamedTuple):
    """What a run of the pipeline gives."""

    accuracy: float
    chosen: str
    rows: int
    model: Model
    metrics: Metrics


@dsl.pipeline(name="wine-training", description="Trains two classifiers of wines, and keeps the better one.")
def train_pipeline(held_out: float = 0.3, freedom: float = 0.01, trees: int = 20, seed: int = 3) -> Outputs:
    parts = split(held_out=held_out, seed=seed)
    linear = train_linear(training=parts.outputs["training"], freedom=freedom)
    forest = train_forest(training=parts.outputs["training"], trees=trees, seed=seed)
    chosen = choose(test=parts.outputs["test"], linear=linear.outputs["model"], forest=forest.outputs["model"]).outputs
    return Outputs(
        accuracy=chosen["accuracy"],
        chosen=chosen["chosen"],
        rows=parts.outputs["Output"],
        model=chosen["model"],
        metrics=chosen["metrics"],
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    compiler.Compiler().compile(train_pipeline, str(folder / "train.yaml"))


if __name__ == "__main__":
    main()
