"""What is known of a run before it runs."""

from __future__ import annotations

from workflows.foresight import Foreseen, What, foresee
from workflows.messages import StepView
from workflows.outcome import Artifact, StepState
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

ARGO: dict[str, object] = {"argo": {"manifest": "m.yaml"}}
SKIPPED = {"gate": StepView(state=StepState.SKIPPED)}


def look(
    name: str,
    steps: dict[str, dict[str, object]],
    inputs: JsonObject | None = None,
    views: dict[str, StepView] | None = None,
    open_: frozenset[str] = frozenset(),
) -> Foreseen:
    given = inputs or {}
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "inputs": {key: {"type": "number"} for key in given},
            "steps": {key: {**ARGO, **step} for key, step in steps.items()},
        }
    )
    return foresee(definition, name, given, views or {}, open_)


def test_values_of_inputs_are_known_and_those_of_steps_are_not() -> None:
    found = look(
        "train",
        {
            "prepare": {},
            "train": {
                "parameters": {"rate": "${{ inputs.rate * 2 }}", "rows": "${{ steps.prepare.outputs.rows }}", "one": 1},
                "artifacts": {"data": "${{ steps.prepare.artifacts.data }}", "fixed": "s3://b/k"},
            },
        },
        {"rate": 0.5},
    )
    assert found.what is What.RUN
    assert not found.certain
    assert found.resolved.parameters == {"rate": 1.0, "one": 1}
    assert dict(found.parameters) == {"rows": "${{ steps.prepare.outputs.rows }}"}
    assert set(found.resolved.artifacts) == {"fixed"}
    assert dict(found.artifacts) == {"data": "${{ steps.prepare.artifacts.data }}"}


def test_an_id_that_only_a_run_has_is_not_known() -> None:
    found = look("a", {"a": {"parameters": {"id": "${{ run.id }}", "of": "${{ run.workflow }}"}}})
    assert (dict(found.parameters), found.resolved.parameters) == ({"id": "${{ run.id }}"}, {"of": "chain"})


def test_a_condition_on_inputs_is_decided_and_one_on_outputs_is_not() -> None:
    steps: dict[str, dict[str, object]] = {
        "a": {},
        "no": {"when": "inputs.rate > 1.0"},
        "yes": {"when": "inputs.rate < 1.0"},
        "later": {"when": "steps.a.outputs.x > 1.0"},
    }
    assert look("no", steps, {"rate": 0.5}) == Foreseen(What.SKIP, "when is false: inputs.rate > 1.0")
    assert look("yes", steps, {"rate": 0.5}).certain
    later = look("later", steps, {"rate": 0.5})
    assert (later.what, later.why) == (What.UNKNOWN, "when steps.a.outputs.x > 1.0")


def test_a_skipped_step_takes_those_that_need_it_along_unless_they_decide_themselves() -> None:
    steps: dict[str, dict[str, object]] = {
        "gate": {},
        "after": {"needs": ["gate"]},
        "anyway": {"when": "steps.gate.state == 'skipped'"},
    }
    assert look("after", steps, views=SKIPPED) == Foreseen(What.SKIP, "needs gate, which is skipped")
    assert look("anyway", steps, views=SKIPPED).what is What.RUN


def test_a_step_after_one_that_may_run_may_run() -> None:
    steps: dict[str, dict[str, object]] = {"gate": {}, "after": {"needs": ["gate"]}}
    found = look("after", steps, open_=frozenset({"gate"}))
    assert (found.what, found.why) == (What.UNKNOWN, "if gate runs")


def test_what_an_earlier_success_gives_is_known() -> None:
    views = {
        "prepare": StepView(
            state=StepState.SUCCEEDED,
            outputs={"rows": 7},
            artifacts={"data": Artifact(name="data", uri="s3://b/data", sha256="ab")},
        )
    }
    found = look(
        "train",
        {
            "prepare": {"outputs": {"rows": "integer"}},
            "train": {
                "when": "steps.prepare.outputs.rows > 5",
                "parameters": {"rows": "${{ steps.prepare.outputs.rows }}"},
                "artifacts": {"data": "${{ steps.prepare.artifacts.data }}"},
            },
        },
        views=views,
    )
    assert found.certain
    assert found.resolved.parameters == {"rows": 7}
    assert found.resolved.artifacts["data"].uri == "s3://b/data"


def test_an_expression_that_cannot_be_computed_is_a_failure_foretold() -> None:
    found = look("a", {"a": {"parameters": {"x": "${{ 1 / int(inputs.rate) }}"}}}, {"rate": 0})
    assert found.what is What.FAIL
    assert "step 'a', parameter 'x'" in found.why
