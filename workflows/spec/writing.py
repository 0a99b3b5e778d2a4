"""A definition as people write it: YAML with its keys in the order of the documentation, short things on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from workflows.outcome import StepKind
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue
from workflows.yaml_text import Flow, FlowList, yaml_text

_SHORT = 88
"""Longest object or list, in characters of JSON, that stands on one line."""

STEP_KEYS = (
    "description",
    "needs",
    "when",
    "foreach",
    "useCase",
    *(kind.value for kind in StepKind),
    "parameters",
    "artifacts",
    "outputs",
    "retry",
    "onLost",
    "timeout",
    "attemptTimeout",
    "cancelGrace",
    "continueOn",
    "cache",
    "compensate",
)
"""In the order in which a reader asks: whether it runs, what, with what, what comes of it, and what if not."""

_KEYS = ("apiVersion", "kind", "metadata", "timeout", "inputs", "steps", "finally", "outputs", "triggers")
_BLOCKS = ("parameters", "artifacts", "inputs", "steps", "finally", "compensate", "triggers")


def write_definition(definition: MetaWorkflow, head: Sequence[str] = ()) -> str:
    """The text of a definition; `load_definition` reads the same from it.

    Args:
        definition: what stands in its defaults is left out.
        head: lines of the comment before it.
    """
    data = cast(JsonObject, definition.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    parts: list[str] = []
    for key in _KEYS:
        if key in data:
            text = yaml_text({key: _part(key, data[key])})
            parts.append(text if key in ("kind", "metadata", "apiVersion", "timeout") else f"\n{_spaced(key, text)}")
    return "".join(f"# {line}".rstrip() + "\n" for line in head) + "".join(parts)


def _part(key: str, value: JsonValue) -> JsonValue:
    if key in ("steps", "finally"):
        return {name: _step(cast(JsonObject, step)) for name, step in cast(JsonObject, value).items()}
    if key == "inputs":
        return {name: _short(declared) for name, declared in cast(JsonObject, value).items()}
    return _short(value) if key == "metadata" else value


def _step(step: JsonObject) -> JsonObject:
    ordered = {key: step[key] for key in STEP_KEYS if key in step}
    if isinstance(foreach := ordered.get("foreach"), dict) and list(foreach) == ["items"]:
        ordered["foreach"] = foreach["items"]
    found: JsonObject = {}
    ordered |= {key: value for key, value in step.items() if key not in ordered}  # keys that no order is given for
    for key, value in ordered.items():
        if key == "compensate":
            found[key] = _step(cast(JsonObject, value))
        else:
            found[key] = value if key in _BLOCKS else _short(value)
    return found


def _short(value: JsonValue) -> JsonValue:
    """On one line, where it is short enough to be read there."""
    if not isinstance(value, (dict, list)) or len(str(value)) > _SHORT or "\\n" in str(value):
        return value
    return Flow(value) if isinstance(value, dict) else FlowList(value)


def _spaced(key: str, text: str) -> str:
    """Steps of more than a line with an empty line between them."""
    if key not in ("steps", "finally"):
        return text
    head, *lines = text.splitlines(keepends=True)
    spaced = head
    inside = False  # a text of several lines may hold anything, but is always indented deeper
    for line in lines:
        begins = line.startswith("  ") and not line.startswith("   ")
        spaced += ("\n" if begins and inside else "") + line
        inside = True
    return spaced
