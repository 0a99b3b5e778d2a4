"""From JSON to hera's models of the API."""

from __future__ import annotations

import json

from hera.workflows import models as m
from pydantic import JsonValue, ValidationError

from meta.sandbox.argo.state.status import JsonObject


class ManifestError(Exception):
    """The manifest is refused: InvalidArgument, HTTP 400."""


class MissingTemplateError(ManifestError):
    """The template object that the manifest is made from is not there: NotFound, HTTP 404."""


def parse_spec(raw: JsonObject) -> m.WorkflowSpec:
    """Parse `spec`.

    Raises:
        ManifestError: a value has the wrong type; the message names its place.
    """
    try:
        return m.WorkflowSpec.model_validate(with_any_strings(raw))
    except ValidationError as error:
        places = "; ".join(f"spec.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ManifestError(f"json: cannot unmarshal Workflow: {places}") from error


def with_any_strings(raw: JsonValue) -> JsonValue:
    """Turn parameters' values into strings: Argo's AnyString takes any JSON and keeps its text."""
    if isinstance(raw, list):
        return [with_any_strings(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    result: JsonObject = {}
    for key, value in raw.items():
        result[key] = _parameters(value) if key == "parameters" and isinstance(value, list) else with_any_strings(value)
    return result


def _parameters(items: list[JsonValue]) -> JsonValue:
    return [_parameter(item) if isinstance(item, dict) else item for item in items]


def _parameter(raw: JsonObject) -> JsonObject:
    result = dict(raw)
    for key in ("value", "default"):
        if result.get(key) is not None:
            result[key] = any_string(result[key])
    enum, value_from = result.get("enum"), result.get("valueFrom")
    if isinstance(enum, list):
        result["enum"] = [any_string(item) for item in enum]
    if isinstance(value_from, dict) and value_from.get("default") is not None:
        result["valueFrom"] = {**value_from, "default": any_string(value_from["default"])}
    return result


def any_string(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
