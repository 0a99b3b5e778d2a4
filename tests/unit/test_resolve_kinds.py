"""What a step's kind says with expressions, and what it depends on by them."""

from __future__ import annotations

import pytest

from workers.results import take_result
from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.awaited import event_condition
from workflows.inputs import MAX_OUTPUTS
from workflows.kind_messages import TakeResult
from workflows.messages import ResolvedStep, ResolveStep, StepView
from workflows.outcome import StepState
from workflows.plan import plan_step
from workflows.resolve import resolve_step
from workflows.resolve_kinds import MAX_TEXT
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue


def definition(step: JsonObject) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "inputs": {"x": {"type": "string"}, "n": {"type": "integer", "default": 1}},
            "steps": {"train": {"argo": {"template": "t"}}, "it": step},
        }
    )


def resolved(step: JsonObject, **inputs: JsonValue) -> ResolvedStep:
    given: JsonObject = {"x": "a", "n": 1, **inputs}
    view = StepView(state=StepState.SUCCEEDED, outputs={"rows": "7"})
    return resolve_step(
        ResolveStep(meta_run="chain-1", definition=definition(step), step="it", inputs=given, steps={"train": view})
    )


@pytest.mark.parametrize(
    "step",
    [
        {"approval": {"prompt": "${{ steps.train.outputs.rows }} rows?"}},
        {"wait": {"until": "${{ steps.train.outputs.rows }}"}},
        {"wait": {"event": {"subject": "jobs.${{ steps.train.outputs.rows }}"}}},
        {"wait": {"event": {"subject": "jobs", "when": "event.rows == steps.train.outputs.rows"}}},
    ],
)
def test_a_step_waits_for_the_steps_that_its_kind_reads(step: JsonObject) -> None:
    assert plan_step(definition(step), "it").dependencies == ("train",)


def test_prompt_point_in_time_and_subject_become_text_and_a_condition_gets_its_values() -> None:
    assert resolved({"approval": {"prompt": "Load ${{ inputs.n }} rows of ${{ run.id }}?"}}).text == (
        "Load 1 rows of chain-1?"
    )
    assert resolved({"wait": {"until": "${{ inputs.x }}"}}, x="2030-01-01T00:00:00Z").text == "2030-01-01T00:00:00Z"
    event: JsonObject = {
        "subject": "jobs.${{ inputs.x }}",
        "when": "event.n > inputs.n && event.rows == steps.train.outputs.rows",
    }
    found = resolved({"wait": {"event": event}})
    assert (found.text, found.variables) == ("jobs.a", {"inputs.n": 1, "steps.train.outputs.rows": "7"})


def test_what_cannot_be_used_is_named_with_its_place() -> None:
    with pytest.raises(ExpressionFailed, match="step 'it', until: 1 is no text"):
        resolved({"wait": {"until": "${{ inputs.n }}"}})
    with pytest.raises(ExpressionFailed, match=r"step 'it', event.when: step 'train' has no output 'cols'"):
        resolved({"wait": {"event": {"subject": "a", "when": "event.x == steps.train.outputs.cols"}}})
    with pytest.raises(InputsInvalid, match="its prompt has"):
        resolved({"approval": {"prompt": "${{ inputs.x }}"}}, x="y" * MAX_TEXT)


def test_a_condition_computes_with_integers_and_numbers_and_says_what_it_cannot() -> None:
    fits = event_condition("event.rows > inputs.n * 0.5", {"inputs.n": 10}, "when")
    assert [fits({"rows": rows}) for rows in (4, 6)] == [False, True]
    with pytest.raises(ExpressionFailed, match="when: "):
        fits({})
    with pytest.raises(ExpressionFailed, match="not true or false"):
        event_condition("event.rows", {}, "when")({"rows": 1})
    with pytest.raises(ExpressionFailed, match="when: "):
        event_condition("event.rows >", {}, "when")
    assert event_condition("", {}, "when")({})


def test_a_result_that_is_too_large_is_refused() -> None:
    with pytest.raises(InputsInvalid, match="outputs of step count are 256 KB"):
        take_result(TakeResult(step="count", result="x" * MAX_OUTPUTS))
