"""The definition as data: pydantic models of `apiVersion: meta/v1`, `kind: MetaWorkflow`.

The models say what shape a definition has; what it means (dependencies, types of expressions, cycles) is checked in
`workflows.spec.validate`. Names in files are camelCase, in Python snake_case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, SerializerFunctionWrapHandler, StrictBool, model_serializer

from workflows.spec.base import Duration, Label, Model, Name
from workflows.spec.steps import Step
from workflows.spec.trigger_models import Trigger
from workflows.values import JsonObject, JsonValue, ValueType

COMPENSATE = "compensate_"
"""With a step's name behind it the name of its compensation, which no other step may have."""


class Metadata(Model):
    name: Label
    description: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


class Input(Model):
    type: ValueType
    default: JsonValue = None
    required: StrictBool | None = Field(default=None, description="Default: an input without a default is required.")
    description: str = ""

    @property
    def is_required(self) -> bool:
        return self.required if self.required is not None else "default" not in self.model_fields_set

    @model_serializer(mode="wrap")
    def _keep_unset(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        """Say whether there is a default: an input without one is required, one whose default is null is not."""
        data: JsonObject = handler(self)
        data.pop("default", None)
        return data | {"default": self.default} if "default" in self.model_fields_set else data


class MetaWorkflow(Model):
    """A chain whose steps are whole runs of Argo Workflows or Kubeflow Pipelines."""

    api_version: Literal["meta/v1"]
    kind: Literal["MetaWorkflow"]
    metadata: Metadata
    inputs: dict[Name, Input] = Field(default_factory=dict)
    steps: dict[Name, Step] = Field(min_length=1, max_length=500)
    finally_: dict[Name, Step] = Field(
        default_factory=dict[Name, Step],
        alias="finally",
        max_length=50,
        description="Steps that run at the end, however the run ends; they read 'outcome'.",
    )
    timeout: Duration | None = Field(
        default=None, description="Of all steps together; what runs then is ended. Compensations and 'finally' follow."
    )
    outputs: dict[Name, str] = Field(default_factory=dict)
    triggers: list[Trigger] = Field(
        default_factory=list[Trigger], max_length=50, description="What starts runs; in force once it is published."
    )

    @property
    def name(self) -> str:
        return self.metadata.name

    def step(self, name: str) -> Step:
        """A step, a step of `finally`, or a compensation by its own name.

        Raises:
            KeyError: there is none.
        """
        if name in self.steps:
            return self.steps[name]
        if name in self.finally_:
            return self.finally_[name]
        compensation = self.steps[name.removeprefix(COMPENSATE)].compensate if name.startswith(COMPENSATE) else None
        if compensation is None:
            raise KeyError(name)
        return compensation.as_step()

    def placed(self) -> Iterator[tuple[tuple[str, ...], Step]]:
        """All that can run, with its place in the definition."""
        for name, step in self.steps.items():
            yield ("steps", name), step
            if step.compensate is not None:
                yield ("steps", name, "compensate"), step.compensate.as_step()
        for name, step in self.finally_.items():
            yield ("finally", name), step

    def everything(self) -> dict[str, Step]:
        """All that can run: the steps, their compensations, the steps of `finally`."""
        undo = {COMPENSATE + name: one.compensate.as_step() for name, one in self.steps.items() if one.compensate}
        return {**self.steps, **undo, **self.finally_}
