"""Parameters as a bridge's clients spell them, made into inputs of a meta-workflow. Pure.

Such clients know neither our names nor types: `source-url` is input `source_url`, and every value may be a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from workflows.errors import InputsInvalid
from workflows.inputs import show, type_mismatch
from workflows.spec.models import Input, MetaWorkflow
from workflows.suggest import closest
from workflows.values import JsonObject, JsonValue, ValueType

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_INTEGER = re.compile(r"^[+-]?\d{1,19}$")


def inputs_of(definition: MetaWorkflow, parameters: JsonObject, names: Mapping[str, str]) -> JsonObject:
    """The inputs that parameters stand for.

    Args:
        definition: declares the inputs.
        parameters: as a client gave them.
        names: input to parameter, from the catalogue, where their names differ.

    Raises:
        InputsInvalid: with everything that is wrong with them, in the client's own names.
    """
    known = {names.get(name, name.replace("_", "-")): name for name in definition.inputs}
    problems: list[str] = []
    found: dict[str, str] = {}
    inputs: JsonObject = {}
    for parameter, value in parameters.items():
        name = known.get(parameter) or _by_habit(parameter, definition, names)
        if name is None:
            problems.append(_unknown(parameter, known))
        elif name in inputs:
            problems.append(f"parameters '{found[name]}' and '{parameter}' are the same input '{name}'")
        else:
            found[name] = parameter
            inputs[name] = convert(value, definition.inputs[name].type)
            if fault := _fault(inputs[name], definition.inputs[name]):
                problems.append(f"parameter '{parameter}': {fault}")
    for parameter, name in known.items():
        if name not in inputs and definition.inputs[name].is_required:
            problems.append(f"parameter '{parameter}' is required")
    if problems:
        raise InputsInvalid("; ".join(problems))
    return inputs


def _by_habit(parameter: str, definition: MetaWorkflow, names: Mapping[str, str]) -> str | None:
    """The input that a parameter's name comes to in our spelling; None where the catalogue names it otherwise."""
    name = re.sub(r"[-. ]", "_", parameter).lower()
    return name if name in definition.inputs and name not in names else None


def _unknown(parameter: str, known: Mapping[str, str]) -> str:
    if (near := closest(parameter, known)) is not None:
        return f"there is no parameter '{parameter}', did you mean '{near}'?"
    there = f"there are: {', '.join(known)}" if known else "there are none"
    return f"there is no parameter '{parameter}'; {there}"


def _fault(value: JsonValue, declared: Input) -> str | None:
    if value is None and not declared.is_required:
        return None
    return type_mismatch(value, declared.type)


def convert(value: JsonValue, declared: ValueType) -> JsonValue:
    """A value in the declared type, as lenient as text-only clients need; what does not fit stays as it is.

    "5" and 5.0 are an integer, "0.1" is a number, "true", "yes", "on" and 1 are true, lists and objects may be JSON
    texts; where a string is declared, everything else becomes its JSON text.
    """
    match declared:
        case ValueType.STRING:
            return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        case ValueType.INTEGER:
            return _integer(value)
        case ValueType.NUMBER:
            return _number(value)
        case ValueType.BOOLEAN:
            return _boolean(value)
        case ValueType.LIST | ValueType.OBJECT:
            return _from_text(value)


def _integer(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and _INTEGER.match(text := value.strip()):
        return int(text)
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def _number(value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        return value
    try:
        return int(value) if _INTEGER.match(value) else float(value)
    except ValueError:
        return value


def _boolean(value: JsonValue) -> JsonValue:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return value
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else value


def _from_text(value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        return value
    try:
        read: JsonValue = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return read


def names_of(catalogue: Mapping[str, object], pipeline: str) -> str:
    """What is said of a name that the catalogue has not."""
    there = ", ".join(sorted(catalogue)) or "none"
    near = closest(pipeline, catalogue)
    return f"there is no pipeline {show(pipeline)}" + (
        f", did you mean '{near}'? There are: {there}" if near else f"; there are: {there}"
    )
