"""The published schema accepts what the loader accepts, and refuses slips of shape."""

import json
from copy import deepcopy
from pathlib import Path
from typing import cast

import pytest
from jsonschema import Draft202012Validator

from workflows.spec.schema import json_schema
from workflows.spec.yaml12 import Document
from workflows.values import JsonObject, JsonValue

CATALOG = Path(__file__).parents[3] / "workflows" / "catalog"
VALID: JsonObject = {
    "apiVersion": "meta/v1",
    "kind": "MetaWorkflow",
    "metadata": {"name": "x"},
    "inputs": {"rate": {"type": "number", "default": 0.5}},
    "steps": {
        "a": {
            "argo": {"clusterTemplate": "t"},
            "timeout": "1h30m",
            "retry": {"attempts": 2, "backoff": "5s", "retryOn": ["lost"]},
            "cancelGrace": "1m",
            "onLost": "restart",
        },
        "c": {"foreach": ["x", 1], "argo": {"template": "t"}, "continueOn": ["failed", "timed_out"]},
        "d": {"foreach": {"range": {"from": "${{ inputs.a }}", "to": 3}}, "argo": {"template": "t"}, "cache": True},
        "e": {"foreach": "${{ inputs.l }}", "useCase": "u", "argo": {"template": "t"}, "kfp": {"pipeline": "p"}},
        "f": {"wait": {"duration": "5m"}, "compensate": {"workflow": {"name": "undo"}}},
        "g": {"approval": {"prompt": "?", "timeout": "1h", "onTimeout": "approve"}, "cache": False},
        "b": {"kfp": {"pipeline": "p", "version": "v"}, "needs": ["a"], "outputs": {"x": "number"}},
    },
    "finally": {"z": {"activity": {"name": "tell", "taskQueue": "q"}}},
    "timeout": "8h",
    "outputs": {"x": "${{ steps.b.outputs.x }}"},
}


def errors(value: JsonValue) -> list[str]:
    return [e.message for e in Draft202012Validator(json_schema()).iter_errors(value)]


def test_it_is_a_schema_of_its_dialect() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] and schema["title"] and schema["description"]
    json.dumps(schema)


def test_right_definitions_pass() -> None:
    assert errors(VALID) == []
    for file in CATALOG.glob("*/workflow.yaml"):
        assert errors(Document(file.read_text()).value) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "Workflow"),
        (("apiVersion",), "meta/v2"),
        (("stepz",), {}),
        (("metadata", "name"), "Upper"),
        (("inputs", "rate", "type"), "float"),
        (("inputs", "Rate"), {"type": "number"}),
        (("steps",), {}),
        (("steps", "a", "timeout"), "soon"),
        (("steps", "a", "attempt_timeout"), "1h"),
        (("steps", "a", "kfp"), {"pipeline": "p"}),
        (("steps", "a", "argo"), {"template": "t", "manifest": "m"}),
        (("steps", "a", "argo"), {}),
        (("steps", "a", "retry", "attempts"), 0),
        (("steps", "a", "retry", "retryOn"), ["rejected"]),
        (("steps", "a", "retry", "retryOn"), []),
        (("steps", "a", "onLost"), "resume"),
        (("steps", "b", "kfp"), {"package": "p.yaml", "version": "v"}),
        (("steps", "b", "outputs", "x"), "float"),
        (("steps", "b", "needs"), "a"),
        (("outputs", "x"), 3),
        (("steps", "c", "foreach"), 3),
        (("steps", "c", "foreach"), {"items": [1], "range": 3}),
        (("steps", "c", "foreach"), {"matrix": {"A": [1]}}),
        (("steps", "c", "continueOn"), ["rejected"]),
        (("steps", "d", "cache"), "yes"),
        (("steps", "d", "cache"), {"tl": "1h"}),
        (("steps", "e", "approval"), {"prompt": "?"}),
        (("steps", "e", "useCase"), "Upper"),
        (("steps", "f", "wait"), {"duration": "5m", "until": "x"}),
        (("steps", "f", "wait"), {}),
        (("steps", "f", "compensate"), {"argo": {"template": "t"}, "kfp": {"pipeline": "p"}}),
        (("steps", "f", "compensate"), {"wait": {"duration": "1s"}}),
        (("steps", "f", "activity"), {"name": "x", "taskQueue": "q"}),
        (("steps", "g", "approval"), {"prompt": "?", "onTimeout": "approve"}),
        (("finally", "z", "activity"), {"name": "x"}),
        (("timeout",), "soon"),
    ],
)
def test_slips_of_shape_are_refused(path: tuple[str, ...], value: JsonValue) -> None:
    definition = deepcopy(VALID)
    inner = definition
    for key in path[:-1]:
        inner = cast(JsonObject, inner[key])
    inner[path[-1]] = value
    assert errors(definition)
