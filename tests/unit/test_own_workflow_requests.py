"""What a call in a user's own workflow becomes: a definition of one step, the same for every call in one place."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError

from meta.temporal.request import Request, step_name, workflow_name
from meta.temporal.results import META_REJECTED, META_RUN_FAILED, result_of
from workflows.messages import Decision, RunSnapshot, StepSnapshot
from workflows.outcome import Artifact, RunState, StepKind, StepState
from workflows.spec import validate
from workflows.spec.loading import parse_value
from workflows.spec.locate import NOWHERE
from workflows.values import JsonObject


def request(text: str, prompt: str = "") -> Request:
    source: JsonObject = {"approval": {"prompt": ""}} if prompt else {"argo": {"template": "t"}}
    return Request(
        request_id="w/r/1", workflow="deploy-model", step="deploy", data=source, prompt=prompt,
        parameters={"min-accuracy": 0.9, "min_accuracy": 1, "deep": {"a": [text]}, "none": None, "on": True},
        artifacts={"model": Artifact(name="x", uri="s3://b/k", sha256="ab")},
    )  # fmt: skip


def test_values_are_inputs_so_the_definition_is_the_same_for_all_and_nothing_in_them_is_an_expression() -> None:
    definition, inputs = request("${{ steps.none.state }}").definition()
    assert request("other").definition()[0] == definition
    parsed = parse_value(definition, NOWHERE)
    assert parsed.definition is not None
    assert validate(parsed.definition) == []
    step = parsed.definition.steps["deploy"]
    assert step.parameters["none"] is None
    assert step.parameters["min-accuracy"] != step.parameters["min_accuracy"]
    assert {name: one.type.value for name, one in parsed.definition.inputs.items()} == {
        "min_accuracy": "number", "min_accuracy_2": "integer", "deep": "object", "on": "boolean", "model": "object",
    }  # fmt: skip
    assert inputs["deep"] == {"a": ["${{ steps.none.state }}"]}
    assert isinstance(inputs["model"], dict)
    assert inputs["model"]["sha256"] == "ab"


def test_a_prompt_is_an_input_too() -> None:
    definition, inputs = request("x", prompt="Deploy ${{ this }}?").definition()
    assert inputs["prompt"] == "Deploy ${{ this }}?"
    assert "this" not in str(definition)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("DeployModel", "deploy-model"), ("MLTrainer2", "ml-trainer2"), ("deploy_all", "deploy-all"),
     ("7up", "workflow-7up"), ("Ж", "workflow")],
)  # fmt: skip
def test_a_meta_workflow_is_named_after_the_workflows_type(given: str, expected: str) -> None:
    assert workflow_name(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("manifests/deploy-model.yaml", "deploy_model"), ("pipelines.py:train", "pipelines"), ("2.yaml", "step_2")],
)
def test_a_step_is_named_after_what_it_runs(given: str, expected: str) -> None:
    assert step_name(given) == expected


def run(state: RunState, step: StepSnapshot) -> RunSnapshot:
    return RunSnapshot(id="r", workflow="w", bundle_digest="d", state=state, message="it failed", steps=[step])


def test_a_rejection_is_told_apart_from_a_failure() -> None:
    from datetime import UTC, datetime

    no = Decision(approved=False, by="ada", at=datetime(2026, 1, 1, tzinfo=UTC), reason="too early")
    asked = StepSnapshot(name="ask", kind=StepKind.APPROVAL, engine="", state=StepState.FAILED, decision=no)
    with pytest.raises(ApplicationError) as rejected:
        result_of(run(RunState.FAILED, asked), "ask")
    assert (rejected.value.type, rejected.value.details[0]["by"]) == (META_REJECTED, "ada")
    with pytest.raises(ApplicationError) as failed:
        result_of(run(RunState.CANCELED, asked.model_copy(update={"decision": None, "message": "gone"})), "ask")
    assert (failed.value.type, failed.value.non_retryable) == (META_RUN_FAILED, True)
    assert failed.value.details[0] == {
        "run_id": "r", "state": "canceled", "message": "gone", "step": "ask", "step_state": "failed",
    }  # fmt: skip
