"""A template with its arguments: defaults, what was given, then every tag replaced (common.ProcessArgs)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hera.workflows import models as m

from meta.sandbox.argo.expressions import escaped
from meta.sandbox.argo.operator.config_maps import ParameterError, from_config_map, input_value
from meta.sandbox.argo.operator.context import OperationError
from meta.sandbox.argo.operator.tags import replace, replace_string
from meta.sandbox.kubernetes_objects import KubernetesObjects


def process_arguments(
    template: m.Template, arguments: m.Arguments | None, values: Mapping[str, str | None], objects: KubernetesObjects
) -> m.Template:
    """Give a template its inputs and replace its tags; tags of steps and tasks stay for later.

    Raises:
        OperationError: an input was not supplied.
    """
    template = template.model_copy(deep=True)
    arguments = arguments or m.Arguments()
    inputs, outputs = template.inputs or m.Inputs(), template.outputs or m.Outputs()
    local: dict[str, str | None] = dict(values)
    given = {p.name: p.value for p in arguments.parameters or [] if p.value is not None}
    sources = {
        p.name: p.value_from for p in arguments.parameters or [] if p.value is None and from_config_map(p)
    }  # fmt: skip
    for parameter in inputs.parameters or []:
        if parameter.name in given or parameter.name in sources:  # an argument's source displaces the input's own
            parameter.value, parameter.value_from = given.get(parameter.name), sources.get(parameter.name)
        value = _value(parameter, values, objects)
        if value is None:
            raise OperationError(f"inputs.parameters.{parameter.name} was not supplied")
        parameter.value = replace_string(value, values)  # of what is global: hooks, for one, leave it to here
        local[f"inputs.parameters.{parameter.name}"] = parameter.value
    if inputs.artifacts:
        inputs.artifacts = _artifacts(inputs.artifacts, arguments)
    for kind, artifacts in (("inputs", inputs.artifacts), ("outputs", outputs.artifacts)):
        for artifact in artifacts or []:
            if artifact.path:
                local[f"{kind}.artifacts.{artifact.name}.path"] = artifact.path
    for parameter in outputs.parameters or []:
        if parameter.value_from and parameter.value_from.path:
            local[f"outputs.parameters.{parameter.name}.path"] = parameter.value_from.path
    if inputs.parameters:
        local["inputs.parameters"] = _listed(inputs.parameters)
    kept = [(p.name, p.value) for p in inputs.parameters or []]
    if any("{{" in value for value in values.values() if value):  # a workflow's argument that says {{workflow.name}}
        template = replace(template, values)
    processed = replace(template, local)
    for parameter, (_, value) in zip((processed.inputs or m.Inputs()).parameters or [], kept, strict=True):
        parameter.value = value  # a value is data: tags inside it are not replaced twice
    return processed


def _listed(parameters: list[m.Parameter]) -> str:
    """All inputs as a JSON list, as the controller writes them."""
    order = ("name", "default", "value", "valueFrom", "globalName", "enum", "description")
    bodies = [parameter.model_dump(mode="json", by_alias=True, exclude_none=True) for parameter in parameters]
    listed = [{key: body[key] for key in order if key in body} for body in bodies]
    return escaped(json.dumps(listed, separators=(",", ":"), ensure_ascii=False))


def _value(parameter: m.Parameter, values: Mapping[str, str | None], objects: KubernetesObjects) -> str | None:
    if parameter.value_from is None:
        return parameter.value if parameter.value is not None else parameter.default
    try:
        return input_value(parameter.name, parameter.value_from, objects, values)
    except ParameterError as error:
        raise OperationError(str(error)) from error


def _artifacts(wanted: list[m.Artifact], arguments: m.Arguments) -> list[m.Artifact]:
    given = {a.name: a for a in arguments.artifacts or []}
    result: list[m.Artifact] = []
    for artifact in wanted:
        argument = given.get(artifact.name)
        if argument is None:
            if not has_location(artifact) and not artifact.optional:
                raise OperationError(f"inputs.artifacts.{artifact.name} was not supplied")
            result.append(artifact)
            continue
        if not has_location(argument) and not artifact.optional:
            raise OperationError(f"inputs.artifacts.{artifact.name} missing location information")
        update: dict[str, object] = {
            "path": artifact.path,
            "mode": artifact.mode,
            "optional": artifact.optional,
            "global_name": None,
        }
        result.append(argument.model_copy(update=update))
    return result


def has_location(artifact: m.Artifact) -> bool:
    return (
        artifact.raw is not None
        or (artifact.s3 is not None and bool(artifact.s3.key))
        or (artifact.http is not None and bool(artifact.http.url))
        or (artifact.git is not None and bool(artifact.git.repo))
    )
