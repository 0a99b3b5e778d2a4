"""The JSON Schema of definitions, for editors and for other languages."""

from __future__ import annotations

from typing import cast

from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import ENGINE_KINDS, KINDS
from workflows.values import JsonObject, JsonValue

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:meta-workflows:schema:meta-v1:MetaWorkflow"


def json_schema() -> JsonObject:
    """JSON Schema 2020-12 of `apiVersion: meta/v1`, `kind: MetaWorkflow`.

    It says what the models say about shape. What a definition means (names that exist, types of expressions, circles)
    is beyond a schema: `meta validate` checks it.
    """
    schema = cast(JsonObject, MetaWorkflow.model_json_schema(by_alias=True, mode="validation"))
    definitions = cast(dict[str, JsonObject], schema["$defs"])
    for name, keys in _EXACTLY_ONE.items():
        definitions[name]["oneOf"] = [{"required": [key]} for key in keys]
    definitions["KfpSource"]["dependentRequired"] = {"version": ["pipeline"]}
    definitions["ScheduleTrigger"]["dependentRequired"] = {"offset": ["every"]}
    definitions["ApprovalSource"]["dependentRequired"] = {"onTimeout": ["timeout"]}
    definitions["Step"] |= _of_a_step()
    bare: list[JsonValue] = [{"type": "array"}, {"type": "string"}]  # a list, or an expression that gives one
    definitions["Foreach"] = {"anyOf": [definitions["Foreach"], *bare]}
    _close(schema)
    return {
        "$schema": DIALECT,
        "$id": ID,
        **schema,
        "title": "MetaWorkflow",
        "description": "A chain whose steps are whole runs of Argo Workflows or Kubeflow Pipelines.",
    }


def _of_a_step() -> JsonObject:
    """One kind; with a use case one of an engine's or both."""
    without: JsonObject = {"oneOf": [{"required": [key]} for key in KINDS]}
    engines: list[JsonValue] = [{"required": [key]} for key in sorted(ENGINE_KINDS)]
    others: list[JsonValue] = [{"required": [key]} for key in KINDS if key not in ENGINE_KINDS]
    with_case: JsonObject = {"anyOf": engines, "not": {"anyOf": others}}
    return {"if": {"required": ["useCase"]}, "then": with_case, "else": without}


def _close(schema: JsonValue) -> None:
    """Refuse keys that no pattern takes: pydantic writes the patterns of keys, and leaves other keys open."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)


# What the models check after their fields, which their own schema does not say.
_EXACTLY_ONE = {
    "Compensation": ("argo", "kfp", "workflow", "activity"),
    "Foreach": ("items", "range", "matrix"),
    "Trigger": ("nats", "schedule"),
    "ScheduleTrigger": ("cron", "every"),
    "WaitSource": ("duration", "until", "event"),
    "ArgoSource": ("manifest", "template", "clusterTemplate", "cronWorkflow"),
    "KfpSource": ("package", "pipeline"),
}
