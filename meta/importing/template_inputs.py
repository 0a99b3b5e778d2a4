"""Parameters of a WorkflowTemplate as inputs of a definition, and Argo's tags as expressions over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from meta.importing.documents import At
from meta.importing.draft import name_of
from meta.importing.paths import cel_string
from meta.importing.requests import Tag, told
from workflows.expressions.templates import parse_template
from workflows.values import JsonObject, JsonValue

UNKNOWN = "argo."
"""Before the name of a tag that has no value here, in place of `inputs.`."""


@dataclass
class Inputs:
    """Parameters of the template that become inputs of the definition.

    Attributes:
        declared: by the parameter's own name.
        fixed: values that the user gives, which are inputs no more.
    """

    fixed: Mapping[str, str]
    declared: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    guessed: list[str] = field(default_factory=list[str])

    def expression(self, name: str, default: str | None, *, bare: bool) -> str:
        """CEL for a parameter's value."""
        if name in self.fixed:
            return self.fixed[name] if bare and json_of(self.fixed[name]) is not None else cel_string(self.fixed[name])
        if name not in self.declared:
            parsed = json_of(default) if bare and default is not None else None
            kind = kind_of(parsed) if bare else "string"
            if bare and default is None:
                self.guessed.append(name)
            self.declared[name] = {"type": kind}
            if default is not None:
                self.declared[name]["default"] = parsed if parsed is not None else default
        return f"inputs.{name_of(name)}"


def tags(template: At, arguments: Mapping[str, str], outer: Mapping[str, str | None], inputs: Inputs) -> Tag:
    """What the tags in a template stand for.

    Args:
        template: whose tags they are.
        arguments: that its caller gives it, with tags of the caller.
        outer: parameters of the workflow.
        inputs: of the definition; told of those that are used.
    """
    own = parameters_of(template["inputs"])

    def workflow(name: str, bare: bool) -> str:
        scope, _, rest = name.partition(".parameters.")
        if scope == "workflow" and rest in outer:
            return inputs.expression(rest, outer[rest], bare=bare)
        return f"{UNKNOWN}{name}"

    def tag(name: str, bare: bool) -> str:
        scope, _, rest = name.partition(".parameters.")
        if scope != "inputs" or rest not in own:
            return workflow(name, bare)
        if rest in arguments:
            return _expression(told(arguments[rest], lambda inner, _: workflow(inner, bare)), bare)
        return inputs.expression(rest, own[rest] if own[rest] is not None else outer.get(rest), bare=bare)

    return tag


def _expression(template: str, bare: bool) -> str:
    """A template as one expression."""
    parsed = parse_template(template)
    if parsed.whole is not None:
        return parsed.whole.text
    if bare and json_of(template) is not None:
        return template
    parts = [cel_string(one) if isinstance(one, str) else f"string({one.text})" for one in parsed.parts]
    return " + ".join(parts)


def parameters_of(at: At) -> dict[str, str | None]:
    """Parameters with their defaults."""
    found: dict[str, str | None] = {}
    for one in at["parameters"].items():
        value = one["value"].value if "value" in one else one["default"].value
        found[one.text("name")] = None if value is None else value if isinstance(value, str) else json.dumps(value)
    return found


def json_of(text: str) -> JsonValue:
    try:
        found: JsonValue = json.loads(text)
    except ValueError:
        return None
    return found


def kind_of(value: JsonValue) -> str:
    kinds = ((bool, "boolean"), (int, "number"), (float, "number"), (list, "list"), (dict, "object"), (str, "string"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "number")
