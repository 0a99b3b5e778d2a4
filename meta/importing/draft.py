"""A definition in the making: steps, the inputs that they take, the triggers that give them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from meta.importing.values import escaped
from workflows.manifests import definition_name
from workflows.values import JsonObject, JsonValue

_MOST = 63


def label_of(name: str, default: str = "imported") -> str:
    """A name as definitions and triggers have them: a DNS label."""
    label = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    label = label if re.match(r"[a-z]", label) else f"{default}-{label}".strip("-")
    return label[:_MOST].rstrip("-")


def name_of(name: str) -> str:
    """A name as steps and inputs have them."""
    return definition_name(name)[:_MOST]


def free(name: str, taken: Mapping[str, object]) -> str:
    """The name, or with a number that nobody has."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name[: _MOST - 4]}_{number}", number + 1
    return found


@dataclass
class Given:
    """A place in a step's engine run that events decide.

    Attributes:
        existing: what stands there, when no event says otherwise; None for nothing.
        values: templates over `event`, by dependency.
        raw: the value keeps its type.
    """

    name: str
    existing: str | None = None
    values: dict[str, str] = field(default_factory=dict[str, str])
    raw: bool = False

    def input_of(self, dependency: str) -> JsonValue:
        """What a trigger gives; inputs have types, so that one of any type stands in an object."""
        text = self.values.get(dependency)
        return {"value": text} if self.raw and text is not None else text


@dataclass
class StepDraft:
    """A step.

    Attributes:
        source: `{"argo": {...}}` or `{"kfp": {...}}`.
        parameters: by the engine's name; templates over `inputs`.
        files: that the source names, by path.
    """

    name: str
    source: JsonObject
    parameters: JsonObject = field(default_factory=dict[str, JsonValue])
    files: dict[str, str] = field(default_factory=dict[str, str])
    needs: list[str] = field(default_factory=list[str])

    def as_object(self) -> JsonObject:
        needs: JsonObject = {"needs": list[JsonValue](self.needs)} if self.needs else {}
        return {**self.source, **needs, **({"parameters": self.parameters} if self.parameters else {})}


@dataclass
class TriggerDraft:
    """A trigger; `name` only where the subject does not tell it from another."""

    subject: str
    when: str = ""
    inputs: JsonObject = field(default_factory=dict[str, JsonValue])
    rate: str = ""
    stream: str = ""
    name: str = ""

    def as_object(self) -> JsonObject:
        words = (("stream", self.stream), ("name", self.name), ("when", self.when))
        nats: JsonObject = {"subject": self.subject, **{key: text for key, text in words if text}}
        if self.inputs:
            nats["inputs"] = self.inputs
        if self.rate:
            nats["rate"] = self.rate
        return {"nats": nats}


@dataclass
class DefinitionDraft:
    """A definition, with the files of its steps."""

    name: str
    description: str = ""
    inputs: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    steps: list[StepDraft] = field(default_factory=list[StepDraft])
    triggers: dict[str, TriggerDraft] = field(default_factory=dict[str, TriggerDraft])

    def take(self, given: Given, step: str) -> JsonValue:
        """Make an input of what events decide, and let the triggers give it.

        Returns:
            The step's value: a template over `inputs`, or the text itself where no event changes it.
        """
        told = {given.values.get(dependency, _text(given.existing)) for dependency in self.triggers}
        if self.triggers and len(told) == 1 and not given.raw and (only := next(iter(told))) is not None:
            if "${{" not in only.replace("$${{", ""):
                return only
        declared: JsonObject = {"type": "object" if given.raw else "string"}
        missing = any(dependency not in given.values for dependency in self.triggers)
        if given.existing is not None or missing:
            declared["default"] = {"value": given.existing or ""} if given.raw else given.existing or ""
        name = self._input(given, declared, step)
        for dependency, trigger in self.triggers.items():
            if dependency in given.values:
                trigger.inputs[name] = given.input_of(dependency)
        return "${{ inputs." + name + (".value" if given.raw else "") + " }}"

    def _input(self, given: Given, declared: JsonObject, step: str) -> str:
        """The input's name: shared by steps to which the events give the same."""
        name = name_of(given.name)
        if name in self.inputs:
            same = self.inputs[name] == declared and all(
                trigger.inputs.get(name) == given.input_of(dependency) for dependency, trigger in self.triggers.items()
            )
            if same:
                return name
            name = free(f"{step}_{name}"[:_MOST], self.inputs)
        self.inputs[name] = declared
        return name

    def as_object(self) -> JsonObject:
        metadata: JsonObject = {"name": self.name}
        if self.description:
            metadata["description"] = self.description
        whole: JsonObject = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": metadata}
        if self.inputs:
            whole["inputs"] = dict[str, JsonValue](self.inputs)
        whole["steps"] = {step.name: step.as_object() for step in self.steps}
        if self.triggers:
            whole["triggers"] = [trigger.as_object() for trigger in self.triggers.values()]
        return whole

    @property
    def files(self) -> dict[str, str]:
        return {path: text for step in self.steps for path, text in step.files.items()}


def _text(existing: str | None) -> str | None:
    return None if existing is None else escaped(existing)
