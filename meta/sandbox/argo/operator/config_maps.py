"""Parameters whose values are in ConfigMaps (workflow/common/configmap.go)."""

from __future__ import annotations

from collections.abc import Mapping

from hera.workflows import models as m

from meta.sandbox.argo.operator.tags import replace
from meta.sandbox.kubernetes_objects import KubernetesObjects

_LABEL, _TYPE = "workflows.argoproj.io/configmap-type", "Parameter"


class ParameterError(Exception):
    """A parameter has no value; the message is the controller's."""


class _AbsentError(Exception):
    """There is no such ConfigMap, or no such key in it."""


class _NotForParametersError(Exception):
    """The ConfigMap is labelled for something else."""


def global_value(parameter: m.Parameter, objects: KubernetesObjects) -> str | None:
    """The value of a workflow's argument, which any failure of its ConfigMap gives its default (setGlobalParameters).

    Raises:
        ParameterError: the ConfigMap does not give it, and there is no default.
    """
    reference = _reference(parameter)
    if parameter.value is not None or reference is None or parameter.value_from is None:
        return parameter.value
    try:
        return _read(objects, reference)
    except (_AbsentError, _NotForParametersError) as error:
        if parameter.value_from.default is not None:
            return parameter.value_from.default
        raise ParameterError(
            f"failed to set global parameter {parameter.name} from configmap with name {reference.name} and key "
            f"{reference.key}: {error}"
        ) from error


def input_value(
    name: str, source: m.ValueFrom, objects: KubernetesObjects, values: Mapping[str, str | None]
) -> str | None:
    """The value of a template's input; only one that is not there has its default (substituteAndGetConfigMapValue).

    Args:
        name: of the input.
        source: of the argument, or of the input itself.
        objects: has the ConfigMaps.
        values: of the global tags in the reference.

    Raises:
        ParameterError: the ConfigMap does not give it.
        SubstitutionError: a tag of the reference has no value.
    """
    if source.config_map_key_ref is None:
        return None
    try:
        return _read(objects, replace(source.config_map_key_ref, values))
    except (_AbsentError, _NotForParametersError) as error:
        if source.default is not None and isinstance(error, _AbsentError):
            return source.default
        raise ParameterError(f"unable to retrieve inputs.parameters.{name} from ConfigMap: {error}") from error


def from_config_map(parameter: m.Parameter) -> bool:
    """Whether a parameter names a ConfigMap, where it has no value of its own."""
    return _reference(parameter) is not None


def _reference(parameter: m.Parameter) -> m.ConfigMapKeySelector | None:
    return parameter.value_from.config_map_key_ref if parameter.value_from is not None else None


def _read(objects: KubernetesObjects, reference: m.ConfigMapKeySelector) -> str:
    found = objects.objects.get(("ConfigMap", reference.name or ""))
    if found is None or _LABEL not in found.labels:
        raise _AbsentError(
            f"ConfigMap '{reference.name}' does not exist. Please make sure it has the label {_LABEL}: {_TYPE} to be "
            "detectable by the controller"
        )
    if found.labels[_LABEL] != _TYPE:
        raise _NotForParametersError(
            f"ConfigMap '{reference.name}' needs to have the label {_LABEL}: {_TYPE} to load parameters"
        )
    if reference.key not in found.data:
        raise _AbsentError(f"ConfigMap '{reference.name}' does not have the key '{reference.key}'")
    return found.data[reference.key].decode(errors="replace")
