"""Every line of the tables of the page on expressions is run."""

from __future__ import annotations

import json
import re
from typing import cast

import pytest

from tests.docs.pages import read
from workflows.errors import ExpressionFailed
from workflows.expressions.cel import MAX_LENGTH
from workflows.expressions.check import MAX_MACROS, Checked, Scope, StepScope, check_expression
from workflows.expressions.cost import MAX_MAPPED, MAX_RESULT
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import OUTCOME_FIELDS, ROOTS, RUN_FIELDS, STEP_FIELDS
from workflows.expressions.templates import render_value
from workflows.expressions.types import ExprType, of_items, of_value
from workflows.expressions.variables import OUTCOME, fields_of_item, item_types
from workflows.messages import ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.resolve import MAX_PARAMETERS, resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.spec.scopes import APPROVAL_OUTPUTS, EVENT_OUTPUTS
from workflows.spec.yaml12 import Document
from workflows.values import JsonObject, JsonValue

PAGE = read("docs/expressions.md")


def rows(first: str, second: str) -> list[tuple[str, str]]:
    """The lines of a table, by its headings."""
    table = PAGE[PAGE.index(f"| {first} | {second} |\n") :].split("\n\n")[0].splitlines()[2:]
    found = [re.fullmatch(r"\| `(.+?)` \| (.+) \|", line) for line in table]
    assert None not in found
    return [(m[1], m[2]) for m in found if m is not None]


VALUES = cast("dict[str, JsonObject]", Document(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]).value)
INPUTS, OUTPUTS, ITEM = VALUES["inputs"], VALUES["outputs"], VALUES["item"]
SCORES: list[JsonValue] = [0.1, 0.2]
MODEL = Artifact(name="model", uri="s3://models/7")
_INPUT_TYPES = {"rate": "number", "rows": "integer", "name": "string", "tags": "list", "sizes": "list"}
DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "page"},
        "inputs": {
            **{name: {"type": type_} for name, type_ in _INPUT_TYPES.items()},
            "options": {"type": "object"},
            "note": {"type": "string", "required": False},
        },
        "steps": {
            "train": {"kfp": {"pipeline": "train"}},
            "skipped": {"kfp": {"pipeline": "train"}},
            "shards": {"argo": {"template": "t"}, "foreach": [1, 2], "outputs": {"score": "number"}},
            "here": {"argo": {"template": "t"}},
        },
    }
)
SCOPE = Scope(
    inputs={name: ExprType.ANY if value is None else of_value(value) for name, value in INPUTS.items()},
    steps={
        "train": StepScope(None, {"model"}),
        "skipped": StepScope(),
        "shards": StepScope({"score": ExprType.NUMBERS}, {"model"}, fans_out=True),
    },
    here="here",
    variables={**OUTCOME, **item_types([], {name: of_value(value) for name, value in ITEM.items()})},
)


def evaluate(expression: str) -> JsonValue:
    """As a step that decides for itself: with what a run has at hand, or what else can be read in places of its own."""
    if re.search(r"\b(item|index|outcome|shards)\b", expression):
        own: JsonObject = {"item": ITEM, "index": cast("int", VALUES["index"]), **fields_of_item(ITEM)}
        own |= {"outcome.state": "failed", "outcome.message": "", "outcome.failed_step": "train"}
        types = {name: of_value(value) for name, value in own.items()}
        lists: JsonObject = {"steps.shards.outputs.score": SCORES}
        types["steps.shards.outputs.score"] = of_items(SCORES)
        return compile_expression(expression, types).evaluate({**own, **lists})
    return written(f"${{{{ {expression} }}}}")


def written(text: str) -> JsonValue:
    step = DEFINITION.steps["here"].model_copy(
        update={"parameters": {"p": text}, "when": "[steps.train.state, steps.skipped.state] != []"}
    )
    message = ResolveStep(
        meta_run="page-1",
        definition=DEFINITION.model_copy(update={"steps": {**DEFINITION.steps, "here": step}}),
        step="here",
        inputs=INPUTS,
        steps={
            "train": StepView(state=StepState.SUCCEEDED, outputs=OUTPUTS, artifacts={"model": MODEL}),
            "skipped": StepView(state=StepState.SKIPPED),
        },
    )
    return resolve_step(message).parameters["p"]


def same(found: JsonValue, expected: JsonValue) -> bool:
    return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


@pytest.mark.parametrize(("expression", "value"), rows("Expression", "Value"))
def test_an_expression_gives_the_value_that_the_page_says(expression: str, value: str) -> None:
    checked = check_expression(expression, SCOPE)
    assert checked.issues == ()
    found = evaluate(expression)
    assert same(found, json.loads(value.strip("`")))
    assert checked.returns in (ExprType.ANY, of_value(found)) or isinstance(found, list)


@pytest.mark.parametrize(("text", "value"), rows("Written", "Value"))
def test_a_string_becomes_what_the_page_says(text: str, value: str) -> None:
    assert same(written(text), json.loads(value.strip("`")))


@pytest.mark.parametrize(("expression", "said"), rows("Expression", "At validation"))
def test_a_mistake_is_named_as_the_page_says(expression: str, said: str) -> None:
    checked: Checked = check_expression(expression, SCOPE)
    (issue,) = checked.issues
    message, _, hint = said.removeprefix("`").partition("`")
    assert (issue.message, issue.hint) == (message, hint.removeprefix("; "))


@pytest.mark.parametrize(("expression", "said"), rows("Expression", "When the step begins"))
def test_what_cannot_be_computed_is_named_as_the_page_says(expression: str, said: str) -> None:
    assert check_expression(expression, SCOPE).issues == ()
    with pytest.raises(ExpressionFailed) as caught:
        evaluate(expression)
    assert said.strip("`") in caught.value.message
    assert caught.value.message.startswith("step 'here', parameter 'p': ")


def test_the_page_names_all_that_can_be_read_and_every_limit() -> None:
    for word in (*(root for root in ROOTS), *RUN_FIELDS, *STEP_FIELDS, *OUTCOME_FIELDS, "event"):
        assert re.search(rf"`[^`]*\b{word}\b", PAGE), word
    for output in (*APPROVAL_OUTPUTS, *EVENT_OUTPUTS):
        assert f"`{output}`" in PAGE
    for limit in (MAX_LENGTH, MAX_MAPPED, MAX_RESULT, MAX_PARAMETERS, MAX_MACROS):
        assert f"{limit:,}" in PAGE


def test_text_without_expressions_needs_no_values() -> None:
    def never(_: str) -> JsonValue:
        raise AssertionError

    assert render_value({"a": ["$${{ x }}", 1]}, never) == {"a": ["${{ x }}", 1]}
