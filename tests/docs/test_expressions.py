"""Every line of the tables of the page on expressions is run."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.pages import read
from workflows.errors import ExpressionFailed
from workflows.expressions.cel import MAX_LENGTH
from workflows.expressions.check import MAX_MACROS, Scope, StepScope, check_expression
from workflows.expressions.cost import MAX_MAPPED, MAX_RESULT
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import find_references
from workflows.expressions.templates import render_value
from workflows.expressions.types import ExprType, of_items, of_value
from workflows.expressions.variables import OUTCOME, item_types, item_values
from workflows.messages import ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.resolve import MAX_PARAMETERS, resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.spec.scopes import APPROVAL_OUTPUTS, EVENT_OUTPUTS
from workflows.spec.yaml12 import Document
from workflows.values import JsonObject, JsonValue

PAGE = read("docs/expressions.md")


def rows(first: str, second: str) -> list[tuple[str, str]]:
    """The lines of a table, by its two headings."""
    table = PAGE[PAGE.index(f"| {first} | {second} |\n") :].split("\n\n")[0].splitlines()[2:]
    return [(m[1], m[2]) for line in table if (m := re.fullmatch(r"\| `(.+?)` \| (.+) \|", line)) is not None]


def values() -> dict[str, JsonObject]:
    found = Document(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]).value
    assert isinstance(found, dict)
    return found  # type: ignore[return-value]
