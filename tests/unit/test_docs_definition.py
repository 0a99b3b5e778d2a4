"""Every snippet of the language's reference is what it says it is."""

import re
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from workflows.expressions.cel import MAX_LENGTH
from workflows.expressions.check import ARTIFACT_FIELDS, MAX_MACROS
from workflows.expressions.cost import MAX_MAPPED
from workflows.outcome import StepKind, StepState
from workflows.spec import load_definition
from workflows.spec.flow import MAX_ITEMS
from workflows.spec.models import MetaWorkflow
from workflows.spec.schema import json_schema
from workflows.spec.sources import ActivitySource, ApprovalSource, EventSource, WaitSource, WorkflowSource
from workflows.spec.steps import Cache, Compensation, Continued, Foreach, Step
from workflows.spec.trigger_models import NatsTrigger
from workflows.spec.yaml12 import Document

PAGE = (Path(__file__).parents[2] / "docs" / "definition.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_snippets() -> None:
    assert len(YAML) >= 5
    assert len(PYTHON) >= 1


@pytest.mark.parametrize("snippet", YAML, ids=lambda s: re.findall(r"name: ([\w-]+)", s)[0])
def test_every_yaml_snippet_is_a_valid_definition(snippet: str) -> None:
    load_definition(snippet, "docs/definition.md")
    assert list(Draft202012Validator(json_schema()).iter_errors(Document(snippet).value)) == []


@pytest.mark.parametrize("snippet", PYTHON)
def test_every_python_snippet_runs(snippet: str) -> None:
    exec(compile(snippet, "docs/definition.md", "exec"), {})


def test_the_page_names_every_key_state_and_limit() -> None:
    for name, field in Step.model_fields.items():
        if name != "description":
            assert f"`{field.alias}" in PAGE
    for model in (
        MetaWorkflow,
        ApprovalSource,
        WaitSource,
        EventSource,
        WorkflowSource,
        ActivitySource,
        Foreach,
        Cache,
    ):
        for field in model.model_fields.values():
            assert f"`{field.alias}`" in PAGE or f"{{{field.alias}: " in PAGE or f", {field.alias}: " in PAGE, (
                field.alias
            )
    for field in Compensation.model_fields.values():
        assert f"`{field.alias}`" in PAGE, field.alias
    for kind in StepKind:
        assert f"| `{kind}: {{" in PAGE
    for word in get_args(Continued):
        assert f"`{word}`" in PAGE
    for field in NatsTrigger.model_fields.values():
        assert f"| `{field.alias}` |" in PAGE, field.alias
    for state in StepState:
        assert f"`{state}`" in PAGE or not state.ended
    for field in ARTIFACT_FIELDS:
        assert f"`{field}`" in PAGE
    assert f"{MAX_LENGTH:,} characters" in PAGE
    assert f"{MAX_MACROS} macros" in PAGE
    assert f"{MAX_MAPPED:,} items at most" in PAGE
    assert f"{MAX_ITEMS:,} items of a fan-out" in PAGE
