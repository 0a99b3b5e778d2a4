"""Whether a step runs, and with what; outputs by type and name."""

import pytest

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.messages import ResolvedStep, ResolveOutputs, ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.resolve import convert_outputs, resolve_outputs, resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue, ValueType

MODEL = Artifact(name="model", uri="s3://b/model", sha256="ab", size=3, type="system.Model", producer="train")
DONE = StepView(
    state=StepState.SUCCEEDED,
    outputs={"accuracy": 0.93, "whole": 1, "rows": "7", "none": None},
    artifacts={"model": MODEL},
)


def definition(step: dict[str, JsonValue], outputs: dict[str, str] | None = None) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "inputs": {"rate": {"type": "number"}, "maybe": {"type": "number", "required": False}},
            "steps": {
                "train": {"kfp": {"pipeline": "p"}},
                "typed": {"argo": {"template": "t"}, "outputs": {"score": "number"}},
                "here": {"argo": {"template": "t"}, **step},
            },
            "outputs": outputs or {},
        }
    )


def resolve(step: dict[str, JsonValue], train: StepView = DONE, typed: StepView = DONE) -> ResolvedStep:
    return resolve_step(
        ResolveStep(
            meta_run="run-1",
            definition=definition(step),
            step="here",
            inputs={"rate": 0.5, "maybe": None},
            steps={"train": train, "typed": typed},
        )
    )


def parameter(text: JsonValue, train: StepView = DONE) -> JsonValue:
    return resolve({"parameters": {"p": text}}, train).parameters["p"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ inputs.rate * 2 }}", 1.0),
        ("${{ steps.train.outputs.accuracy * 2 }}", 1.86),
        ("${{ steps.train.outputs.whole * 2 }}", 2),
        ("${{ steps.train.outputs.whole * 0.5 }}", 0.5),
        ("${{ steps.train.outputs.accuracy > 0 ? steps.train.outputs.accuracy : 0 }}", 0.93),
        ("${{ steps.train.outputs.accuracy > 0 ? steps.train.outputs.rows : 0 }}", "7"),
        ("${{ steps.train.artifacts.model.uri }}", "s3://b/model"),
        ("${{ steps.train.artifacts.model.size + 1 }}", 4),
        ("${{ run.workflow }}/${{ run.id }}", "chain/run-1"),
        ("${{ inputs.maybe == null ? 1 : 2 }}", 1),
        ("${{ steps.train.outputs.none }}", None),
        ({"deep": ["${{ steps.train.state }}", 3]}, {"deep": ["succeeded", 3]}),
        ("$${{ x }}", "${{ x }}"),
    ],
)
def test_parameters_are_computed_on_the_values_at_hand(text: JsonValue, expected: JsonValue) -> None:
    value = parameter(text)
    assert value == pytest.approx(expected) if isinstance(expected, float) else value == expected


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (StepState.FAILED, "needs train, which failed"),
        (StepState.LOST, "needs train, which was lost"),
        (StepState.TIMED_OUT, "needs train, which timed out"),
        (StepState.CANCELLED, "needs train, which was cancelled"),
        (StepState.SKIPPED, "needs train, which was skipped"),
    ],
)
def test_a_step_whose_dependency_did_not_succeed_is_skipped(state: StepState, reason: str) -> None:
    train = StepView(state=state)
    assert resolve({"needs": ["train"]}, train).skip_reason == reason
    assert resolve({"parameters": {"p": "${{ steps.train.outputs.x }}"}}, train).skip_reason == reason
    assert resolve({"when": "steps.train.outputs.x > 1"}, train).skip_reason == reason


def test_a_when_that_reads_the_state_decides_itself() -> None:
    failed = StepView(state=StepState.FAILED)
    step: dict[str, JsonValue] = {"needs": ["train"], "when": "steps.train.state == 'failed'"}
    assert resolve(step, failed).skip_reason == ""
    assert resolve(step).skip_reason == "when is false: steps.train.state == 'failed'"


def test_it_decides_for_that_dependency_alone() -> None:
    step: dict[str, JsonValue] = {"needs": ["typed"], "when": "steps.train.state == 'failed'"}
    failed = StepView(state=StepState.FAILED)
    assert resolve(step, failed, typed=failed).skip_reason == "needs typed, which failed"


def test_a_guard_keeps_an_absent_output_from_being_read() -> None:
    step: dict[str, JsonValue] = {"when": "steps.typed.state == 'succeeded' && steps.typed.outputs.score * 2 > 1.5"}
    assert resolve(step, typed=StepView(state=StepState.FAILED)).skip_reason.startswith("when is false")
    assert resolve(step, typed=StepView(state=StepState.SUCCEEDED, outputs={"score": 0.9})).skip_reason == ""


@pytest.mark.parametrize(
    ("text", "state", "message", "hint"),
    [
        ("${{ steps.train.outputs.acuracy }}", StepState.SUCCEEDED, "no output 'acuracy'", "did you mean 'accuracy'?"),
        ("${{ steps.train.artifacts.modle }}", StepState.SUCCEEDED, "no artifact 'modle'", "did you mean 'model'?"),
        (
            "${{ steps.train.outputs.rows > 1 }}",
            StepState.SUCCEEDED,
            "'>' cannot be applied to a string",
            "{rows: number}",
        ),
        ("${{ 1 / (steps.train.outputs.whole - 1) }}", StepState.SUCCEEDED, "divide by zero", ""),
    ],
)
def test_what_cannot_be_computed_names_its_place(text: str, state: StepState, message: str, hint: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        parameter(text, DONE.model_copy(update={"state": state}))
    assert caught.value.message.startswith("step 'here', parameter 'p': ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_reading_an_output_of_a_failed_step_names_it() -> None:
    step: dict[str, JsonValue] = {
        "when": "steps.train.state == 'failed'",
        "parameters": {"p": "${{ steps.train.outputs.x }}"},
    }
    with pytest.raises(ExpressionFailed, match=r"step 'train' has no output 'x': it failed"):
        resolve(step, StepView(state=StepState.FAILED))


def test_a_when_that_is_no_boolean_is_an_error() -> None:
    with pytest.raises(ExpressionFailed, match="gives 1, not true or false"):
        resolve({"when": "steps.train.outputs.whole"})


def test_artifacts_come_from_steps_and_from_uris() -> None:
    artifacts = resolve(
        {
            "artifacts": {
                "net": "${{ steps.train.artifacts.model }}",
                "fixed": "s3://b/k",
                "made": "s3://b/${{ run.id }}",
            }
        }
    ).artifacts
    assert artifacts["net"] == MODEL.model_copy(update={"name": "net"})
    assert artifacts["fixed"] == Artifact(name="fixed", uri="s3://b/k")
    assert artifacts["made"].uri == "s3://b/run-1"


@pytest.mark.parametrize("text", ["${{ steps.train.outputs.rows }}", "${{ steps.train.outputs.whole }}", "x y"])
def test_what_is_no_artifact_is_refused(text: str) -> None:
    with pytest.raises(ExpressionFailed, match="neither an artifact nor a URI"):
        resolve({"artifacts": {"a": text}})


def test_parameters_that_are_too_large_name_the_largest() -> None:
    large = DONE.model_copy(update={"outputs": {"text": "x" * 300_000}})
    with pytest.raises(InputsInvalid, match=r"300,0\d\d bytes, 262,144 at most; the largest is 'big'"):
        resolve({"parameters": {"small": 1, "big": "${{ steps.train.outputs.text }}"}}, large)


def outputs(texts: dict[str, str], train: StepView = DONE) -> JsonObject:
    return resolve_outputs(
        ResolveOutputs(
            meta_run="run-1",
            definition=definition({}, texts),
            inputs={"rate": 0.5, "maybe": None},
            steps={"train": train, "typed": DONE, "here": DONE},
        )
    )


def test_outputs_of_the_definition_are_computed() -> None:
    texts = {"accuracy": "${{ steps.train.outputs.accuracy }}", "text": "got ${{ steps.train.outputs.whole }}"}
    assert outputs(texts) == {"accuracy": 0.93, "text": "got 1"}


def test_an_output_of_a_skipped_step_is_null() -> None:
    texts = {"accuracy": "${{ steps.train.outputs.accuracy }}", "model": "${{ steps.train.artifacts.model.uri }}"}
    skipped = StepView(state=StepState.SKIPPED)
    assert outputs(texts | {"state": "${{ steps.train.state }}"}, skipped) == {
        "accuracy": None, "model": None, "state": "skipped",
    }  # fmt: skip


def test_an_output_that_a_step_does_not_have_is_an_error() -> None:
    with pytest.raises(ExpressionFailed, match="output 'x': step 'train' has no output 'acuracy'"):
        outputs({"x": "${{ steps.train.outputs.acuracy }}"})


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        (ValueType.NUMBER, "0.93", 0.93),
        (ValueType.NUMBER, "1", 1.0),
        (ValueType.NUMBER, 1, 1.0),
        (ValueType.INTEGER, " 7\n", 7),
        (ValueType.INTEGER, 7.0, 7),
        (ValueType.BOOLEAN, "true", True),
        (ValueType.BOOLEAN, "False", False),
        (ValueType.LIST, "[1, 2]", [1, 2]),
        (ValueType.OBJECT, '{"a": 1}', {"a": 1}),
        (ValueType.STRING, "7", "7"),
        (ValueType.STRING, 7, "7"),
    ],
)
def test_declared_outputs_are_converted(declared: ValueType, value: JsonValue, expected: JsonValue) -> None:
    converted = convert_outputs("train", {"x": declared}, {"x": value})["x"]
    assert (converted, type(converted)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("declared", "value"),
    [(ValueType.NUMBER, "high"), (ValueType.NUMBER, "NaN"), (ValueType.INTEGER, "1.5"), (ValueType.BOOLEAN, "yes"),
     (ValueType.LIST, "{}"), (ValueType.NUMBER, None), (ValueType.INTEGER, "true")],
)  # fmt: skip
def test_what_cannot_be_converted_names_step_output_and_value(declared: ValueType, value: JsonValue) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        convert_outputs("train", {"x": declared}, {"x": value})
    assert "step 'train', output 'x'" in caught.value.message


def test_a_declared_output_that_is_missing_is_an_error_with_a_hint() -> None:
    with pytest.raises(ExpressionFailed) as caught:
        convert_outputs("train", {"accuracy": ValueType.NUMBER}, {"acuracy": 1})
    assert "declares output 'accuracy', but its engine run gave none" in caught.value.message
    assert "did you mean 'acuracy'?" in caught.value.hint


def test_outputs_are_known_by_definition_names() -> None:
    given: JsonObject = {"train-rows": "7", "Output": 1, "kept": "x"}
    assert convert_outputs("s", {"train_rows": ValueType.INTEGER}, given) == {"train_rows": 7, "output": 1, "kept": "x"}
