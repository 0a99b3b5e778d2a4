"""The JSON Schema of definitions, for editors and for other languages."""

from __future__ import annotations

from typing import cast

from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:meta-workflows:schema:meta-v1:MetaWorkflow"


def json_schema() -> JsonObject:
    """JSON Schema 2020-12 of `apiVersion: meta/v1`, `kind: MetaWorkflow`.

    It says what the models say about shape. What a definition means (names that exist, types of expressions, circles)
    is beyond a schema: `meta validate` checks it.
    """
    schema = cast(JsonObject, MetaWorkflow.model_json_schema(by_alias=True, mode="validation"))
    for name, keys in _EXACTLY_ONE.items():
        definition = cast(JsonObject, cast(JsonObject, schema["$defs"])[name])
        definition["oneOf"] = [{"required": [key]} for key in keys]
    cast(JsonObject, cast(JsonObject, schema["$defs"])["KfpSource"])["dependentRequired"] = {"version": ["pipeline"]}
    _close(schema)
    return {
        "$schema": DIALECT,
        "$id": ID,
        **schema,
        "title": "MetaWorkflow",
        "description": "A chain whose steps are whole runs of Argo Workflows or Kubeflow Pipelines.",
    }


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
    "Step": ("argo", "kfp"),
    "ArgoSource": ("manifest", "template", "clusterTemplate", "cronWorkflow"),
    "KfpSource": ("package", "pipeline"),
}
