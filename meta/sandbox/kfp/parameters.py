"""A run's parameters against those that the pipeline declares.

Source: kubeflow/pipelines, backend/src/apiserver/template/v2_template.go (validatePipelineJobInputs) and
common/util/validate_literal.go, with their messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meta.sandbox.kfp.errors import invalid_input


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# type -> (whether a value is of it, what is wrong when it is not)
_NUMBER = (_is_number, "type double or integer, but the parameter value is not of number value type")
_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "NUMBER_INTEGER": _NUMBER,
    "NUMBER_DOUBLE": _NUMBER,
    "STRING": (
        lambda value: isinstance(value, str),
        "type string, but the input parameter is not of string value type",
    ),
    "BOOLEAN": (lambda value: isinstance(value, bool), "type bool, but the input parameter is not of bool value type"),
    "LIST": (lambda value: isinstance(value, list), "type list, but the input parameter is not of list value type"),
    "STRUCT": (
        lambda value: isinstance(value, dict),
        "type struct, but the input parameter is not of struct value type",
    ),
    "TASK_FINAL_STATUS": (lambda value: False, "type TASK_FINAL_STATUS, which is invalid for root component"),
}
_UNKNOWN: tuple[Callable[[object], bool], str] = (lambda value: False, "type unknown")


def check_parameters(declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check run parameters against the declared ones and give numbers their type.

    Args:
        declared: `root.inputDefinitions.parameters` of the IR.
        given: `runtime_config.parameters` of the run.

    Raises:
        ApiError: a missing, unknown or wrongly typed parameter, or one that is none of its literals.
    """
    for name, spec in declared.items():
        if name in given:
            _check(name, spec, given[name])
        elif "defaultValue" not in spec and not spec.get("isOptional", False):
            raise invalid_input(
                f"parameter {name} is not optional, yet has neither default value nor user provided value"
            )
    extra = [name for name in given if name not in declared]
    if extra:
        raise invalid_input(f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")
    return {name: _typed(name, str(declared[name].get("parameterType")), value) for name, value in given.items()}


def _check(name: str, spec: Mapping[str, Any], value: object) -> None:
    kind = str(spec.get("parameterType", "PARAMETER_TYPE_ENUM_UNSPECIFIED"))
    if kind == "PARAMETER_TYPE_ENUM_UNSPECIFIED":
        raise invalid_input(f"input parameter {name} has unspecified type")
    fits, wrong = _KINDS.get(kind, _UNKNOWN)
    if not fits(value):
        raise invalid_input(f"input parameter {name} requires {wrong}")
    literals: list[object] = spec.get("literals", [])
    if literals and value not in literals:
        raise invalid_input(
            f'input parameter "{name}" value {value} does not match any of the allowed literal values: {literals}'
        )


def _typed(name: str, kind: str, value: Any) -> Any:
    """A number as its declared type says: JSON and protobuf's Struct know one kind."""
    if kind == "NUMBER_DOUBLE":
        return float(value)
    if kind == "NUMBER_INTEGER" and isinstance(value, float):
        if not value.is_integer():  # the real server takes it, and the run fails in the first driver that reads it
            raise invalid_input(f"input parameter {name} requires type integer, but the value is {value}")
        return int(value)
    return value
