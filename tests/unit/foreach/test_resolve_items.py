"""What an item is run with; the limits that hundreds of items in one history need."""

from __future__ import annotations

import pytest

from workflows.errors import InputsInvalid
from workflows.fanout_messages import ResolvedItems, ResolveItems, Shared
from workflows.messages import ItemCounts, Origin, ResolvedStep, ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.resolve import MAX_SHARED, resolve_step
from workflows.resolve_items import MAX_BATCH, MAX_ITEM_PARAMETERS, resolve_items
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue

MODEL = Artifact(name="model", uri="s3://b/m1", sha256="ab")
TUNE = StepView(
    state=StepState.SUCCEEDED,
    outputs={"loss": [0.1, 0.2]},
    artifact_lists={"model": [MODEL, None]},
    items=ItemCounts(total=2, succeeded=2),
)


def definition(step: dict[str, JsonValue]) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "inputs": {"scale": {"type": "number", "default": 2}, "text": {"type": "string", "default": ""}},
            "steps": {
                "tune": {"argo": {"template": "t"}, "foreach": {"range": 2}},
                "here": {"argo": {"template": "t"}, **step},
            },
        }
    )


def step_of(step: dict[str, JsonValue], inputs: JsonObject | None = None, tune: StepView = TUNE) -> ResolvedStep:
    given = {"scale": 2, "text": "", **(inputs or {})}
    return resolve_step(
        ResolveStep(meta_run="run-1", definition=definition(step), step="here", inputs=given, steps={"tune": tune})
    )


def each(step: dict[str, JsonValue], inputs: JsonObject | None = None, tune: StepView = TUNE) -> ResolvedItems:
    """The items' parameters, from the step's own resolving on."""
    resolved, whole = step_of(step, inputs, tune), definition(step)
    assert resolved.items is not None
    shared = Shared(
        origin=Origin(run_id="run-1", workflow="chain", bundle_digest="sha256:0"),
        name="here",
        step=whole.steps["here"],
        total=len(resolved.items),
        values=resolved.variables,
        stored={"tune": tune} if tune.stored else {},
    )
    filled = TUNE.model_copy(update={"stored": True})
    return resolve_items(
        ResolveItems(shared=shared, first=0, items=resolved.items), whole, {"tune": filled} if tune.stored else {}
    )


def test_an_item_reads_itself_its_index_and_what_the_step_could_read() -> None:
    found = each(
        {
            "foreach": [{"rate": 0.5}, {"rate": 1.5}],
            "parameters": {
                "rate": "${{ item.rate * inputs.scale }}",
                "loss": "${{ steps.tune.outputs.loss[index] }}",
                "name": "${{ run.id }}-${{ index + 1 }}",
            },
            "artifacts": {"model": "s3://b/${{ index }}"},
        }
    ).items
    assert [one.parameters for one in found] == [
        {"rate": 1.0, "loss": 0.1, "name": "run-1-1"},
        {"rate": 3.0, "loss": 0.2, "name": "run-1-2"},
    ]
    assert [one.artifacts["model"].uri for one in found] == ["s3://b/0", "s3://b/1"]


def test_whole_numbers_beside_others_are_promoted_whatever_the_items_are() -> None:
    found = each({"foreach": [1, 0.5], "parameters": {"x": "${{ item * inputs.scale }}"}}).items
    assert [one.parameters["x"] for one in found] == [2.0, 1.0]


def test_artifacts_of_an_earlier_fan_out_are_items_and_a_missing_one_fails_its_own_item_alone() -> None:
    found = each({"foreach": "${{ steps.tune.artifacts.model }}", "artifacts": {"model": "${{ item }}"}}).items
    assert found[0].artifacts["model"] == MODEL
    assert "null is neither an artifact nor a URI" in found[1].fault


def test_lists_that_the_store_has_do_not_travel_and_are_read_all_the_same() -> None:
    stored = StepView(state=StepState.SUCCEEDED, stored=True, items=ItemCounts(total=2, succeeded=2))
    step: dict[str, JsonValue] = {
        "foreach": [0, 1],
        "parameters": {"loss": "${{ steps.tune.outputs.loss[item] }}", "state": "${{ steps.tune.state }}"},
    }
    assert step_of(step, tune=stored).variables == {"steps.tune.state": "succeeded"}
    assert [one.parameters["loss"] for one in each(step, tune=stored).items] == [0.1, 0.2]


def test_an_item_whose_parameters_are_too_large_says_so_and_does_not_stop_others() -> None:
    step: dict[str, JsonValue] = {
        "foreach": ["x" * MAX_ITEM_PARAMETERS, "y"],
        "parameters": {"x": "${{ item }}"},
    }
    large, small = each(step).items
    assert "at most for an item of a fan-out" in large.fault
    assert small.parameters == {"x": "y"}


def test_a_batch_ends_where_one_recorded_result_would_be_too_large() -> None:
    step: dict[str, JsonValue] = {
        "foreach": list[JsonValue](["x" * 9_000] * 20),
        "parameters": {"x": "${{ item }}"},
    }
    found = each(step).items
    assert len(found) == MAX_BATCH // 9_100


def test_what_items_read_beside_themselves_is_limited_because_it_goes_with_every_chunk() -> None:
    step: dict[str, JsonValue] = {
        "foreach": [1],
        "parameters": {"a": "${{ inputs.text }}", "b": "${{ steps.tune.outputs.loss }}"},
    }
    with pytest.raises(InputsInvalid, match=r"the largest is inputs\.text"):
        step_of(step, {"text": "x" * MAX_SHARED})
    assert step_of({**step, "foreach": []}, {"text": "x" * MAX_SHARED}).items == []


def test_a_name_of_a_fan_out_elsewhere_says_where_it_can_be_read() -> None:
    with pytest.raises(Exception, match="there is no 'item' here"):
        step_of({"parameters": {"x": "${{ item }}"}})
