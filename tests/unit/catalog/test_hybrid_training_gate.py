"""The chain's wiring: what each step is handed, and what happens on either side of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import yaml

import workflows
from workflows.messages import ResolvedStep, ResolveOutputs, ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.plan import make_plan
from workflows.resolve import resolve_outputs, resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

CHAIN = Path(workflows.__file__).parent / "catalog" / "hybrid-training"
DEFINITION = MetaWorkflow.model_validate(yaml.safe_load((CHAIN / "workflow.yaml").read_text()))
INPUTS: JsonObject = {name: declared.default for name, declared in DEFINITION.inputs.items()}
DATASET = Artifact(name="dataset", uri="s3://store/datasets/digits/abc/dataset.npz")
MODEL = Artifact(name="model", uri="s3://store/v2/artifacts/model")


def done(outputs: JsonObject | None = None, *artifacts: Artifact) -> StepView:
    by_name = {artifact.name: artifact for artifact in artifacts}
    return StepView(state=StepState.SUCCEEDED, outputs=outputs or {}, artifacts=by_name)


def evaluated(accuracy: float) -> dict[str, StepView]:
    return {
        "prepare": done({"train_rows": 1347, "held_out_rows": 450}, DATASET),
        "train": done({"loss": 0.01}, MODEL),
        "evaluate": done({"accuracy": accuracy}),
    }


def resolve(step: str, steps: dict[str, StepView]) -> ResolvedStep:
    return resolve_step(ResolveStep(meta_run="run", definition=DEFINITION, step=step, inputs=INPUTS, steps=steps))


def outputs(steps: dict[str, StepView]) -> JsonObject:
    return resolve_outputs(ResolveOutputs(meta_run="run", definition=DEFINITION, inputs=INPUTS, steps=steps))


def declared_parameters(package: str) -> set[str]:
    document = cast("dict[str, dict[str, dict[str, dict[str, object]]]]", yaml.safe_load((CHAIN / package).read_text()))
    return set(document["root"]["inputDefinitions"]["parameters"])


def test_the_steps_follow_one_another() -> None:
    plan = make_plan(DEFINITION)
    assert [step.name for step in plan.steps] == ["prepare", "train", "evaluate", "deploy"]


@pytest.mark.parametrize(("step", "package"), [("train", "train.yaml"), ("evaluate", "evaluate.yaml")])
def test_a_pipeline_is_handed_every_parameter_that_it_declares_and_no_other(step: str, package: str) -> None:
    resolved = resolve(step, evaluated(0.95))
    handed = {*resolved.parameters, *(f"{name}_uri" for name in resolved.artifacts)}
    assert handed == declared_parameters(package)


def test_the_model_goes_from_kfp_to_argo_and_the_data_set_from_argo_to_both() -> None:
    steps = evaluated(0.95)
    assert resolve("train", steps).artifacts["dataset"].uri == DATASET.uri
    assert {name: artifact.uri for name, artifact in resolve("deploy", steps).artifacts.items()} == {
        "model": MODEL.uri,
        "dataset": DATASET.uri,
    }


@pytest.mark.parametrize(("accuracy", "runs"), [(0.95, True), (0.9, True), (0.89, False)])
def test_the_gate_lets_only_a_good_model_through(accuracy: float, runs: bool) -> None:
    reason = resolve("deploy", evaluated(accuracy)).skip_reason
    assert (reason == "") is runs
    assert runs or "steps.evaluate.outputs.accuracy >= inputs.min_accuracy" in reason


def test_a_chain_whose_deployment_is_skipped_still_has_its_outputs() -> None:
    steps = {**evaluated(0.89), "deploy": StepView(state=StepState.SKIPPED)}
    assert outputs(steps) == {
        "accuracy": 0.89,
        "dataset": DATASET.uri,
        "model": MODEL.uri,
        "deployed_version": None,
    }
    steps["deploy"] = done({"version": "abc", "accuracy": 0.89})
    assert outputs(steps)["deployed_version"] == "abc"
