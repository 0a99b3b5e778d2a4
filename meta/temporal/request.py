"""What a call asks for, as it travels to the activity: plain JSON, so that any data converter carries it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workflows.naming import request_run_id
from workflows.outcome import Artifact
from workflows.spec.base import NAME
from workflows.values import JsonObject, JsonValue, ValueType

RUN_ACTIVITY = "meta_workflows.run"
END_ACTIVITY = "meta_workflows.end"

_LONGEST_NAME = 40  # characters: engines cut theirs at 52, with the step's name and a hash in it


class Request(BaseModel):
    """One call. It stands in the user's histories, so it changes by addition only.

    Attributes:
        request_id: the same for every try of the call, so that it starts one run.
        workflow: name of the meta-workflow.
        step: name of the only step; empty for a published meta-workflow.
        data: the step's other keys in a definition.
        prompt: of an approval.
        parameters: values by name; of a published meta-workflow its inputs.
        artifacts: by the consumer's names.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: str
    workflow: str
    step: str = ""
    data: JsonObject = Field(default_factory=dict)
    prompt: str = ""
    parameters: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Of the meta-run that it starts."""
        return request_run_id(self.workflow, self.request_id)

    def definition(self) -> tuple[JsonObject, JsonObject]:
        """The definition with its one step, and the inputs of its run.

        Values are inputs and stand not in the definition: it is the same for every call in one place, so it is stored
        once; and nothing in a value is taken for an expression.
        """
        inputs: JsonObject = {}
        declared: JsonObject = {}
        used: dict[str, dict[str, JsonValue]] = {"parameters": {}, "artifacts": {}}
        given: list[tuple[str, str, JsonValue]] = [("parameters", name, v) for name, v in self.parameters.items()]
        given += [("artifacts", name, one.model_dump(mode="json")) for name, one in self.artifacts.items()]
        for kind, name, value in given:
            if value is None:
                used[kind][name] = None
                continue
            key = _free(name, declared)
            declared[key] = {"type": _type(value).value}
            inputs[key] = value
            used[kind][name] = f"${{{{ inputs.{key} }}}}"
        step: JsonObject = {**self.data, **{kind: dict(names) for kind, names in used.items() if names}}
        if self.prompt:
            key = _free("prompt", declared)
            declared[key], inputs[key] = {"type": "string"}, self.prompt
            approval = step.get("approval")
            assert isinstance(approval, dict)  # `meta.temporal.calls.approval`
            step["approval"] = {**approval, "prompt": f"${{{{ inputs.{key} }}}}"}
        definition: JsonObject = {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": self.workflow, "description": f"{self.step}, called in a Temporal workflow"},
            "inputs": declared,
            "steps": {self.step: step},
        }
        return definition, inputs


def workflow_name(workflow_type: str) -> str:
    """The name of a meta-workflow for calls in Temporal workflows of a type: `DeployModel` gives `deploy-model`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", workflow_type)
    label = re.sub(r"[^a-z0-9]+", "-", words.lower())[:_LONGEST_NAME].strip("-")
    return label if label[:1].isalpha() else f"workflow-{label}".rstrip("-")


def step_name(of: str) -> str:
    """The name of a step for what it runs: `manifests/deploy-model.yaml` gives `deploy_model`."""
    stem = of.rpartition("/")[2].partition(".")[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower())[:_LONGEST_NAME].strip("_")
    return name if re.match(NAME, name) else f"step_{name}".rstrip("_")


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name of an input for a parameter, as like it as can be."""
    plain = step_name(name.replace("/", "_").replace(".", "_"))
    return next(one for i in range(len(taken) + 1) if (one := plain if not i else f"{plain}_{i + 1}") not in taken)


def _type(value: JsonValue) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOLEAN
    if isinstance(value, int):
        return ValueType.INTEGER
    if isinstance(value, float):
        return ValueType.NUMBER
    if isinstance(value, str):
        return ValueType.STRING
    return ValueType.LIST if isinstance(value, list) else ValueType.OBJECT
