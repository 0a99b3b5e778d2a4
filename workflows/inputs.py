"""Inputs of a run: checked against the definition before anything starts."""

from __future__ import annotations

import json
import math

from workflows.errors import InputsInvalid
from workflows.spec.models import Input, MetaWorkflow
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue, ValueType, canonical_json

MAX_VALUE = 64 * 1024
"""Largest value of one input, in bytes of JSON. Larger things belong into an artifact."""
MAX_TOTAL = 256 * 1024
"""Largest sum of all inputs, in bytes of JSON: they travel through histories."""
MAX_OUTPUTS = 256 * 1024
"""The same for a step's outputs. Larger results are artifacts."""
MAX_ITEM_OUTPUTS = 16 * 1024
"""The same for an item of a fan-out: hundreds of them live in one history."""

_INT64 = 1 << 63
_ARTICLE = {
    ValueType.STRING: "a string",
    ValueType.INTEGER: "an integer",
    ValueType.NUMBER: "a number",
    ValueType.BOOLEAN: "true or false",
    ValueType.LIST: "a list",
    ValueType.OBJECT: "an object",
}


def check_inputs(definition: MetaWorkflow, inputs: JsonObject) -> JsonObject:
    """Complete and check the inputs of a run.

    Args:
        definition: what declares them.
        inputs: as the user gave them.

    Returns:
        A value for every declared input, in the definition's order: given, default, or null. An integer where a
        number is declared has become a number.

    Raises:
        InputsInvalid: with everything that is wrong with them.
    """
    problems: list[tuple[str, str]] = [
        (f"unknown input '{name}'", did_you_mean(name, definition.inputs, what="inputs"))
        for name in inputs
        if name not in definition.inputs
    ]
    checked: JsonObject = {}
    total = 0
    for name, declared in definition.inputs.items():
        if name not in inputs:
            if declared.is_required:
                problems.append((f"input '{name}' is required", f"give {_ARTICLE[declared.type]}: -i {name}=..."))
            else:
                checked[name] = declared.default
            continue
        value = inputs[name]
        size = size_of(value)
        total += size
        if size > MAX_VALUE:
            problems.append((f"input '{name}' has {size:,} bytes, {MAX_VALUE:,} at most", _ARTIFACT))
        elif (fault := mismatch(value, declared)) is not None:
            problems.append((f"input '{name}': {fault}", ""))
        else:
            checked[name] = as_declared(value, declared.type)
    if total > MAX_TOTAL and not any(" at most" in message for message, _ in problems):
        problems.append((f"the inputs have {total:,} bytes together, {MAX_TOTAL:,} at most", _ARTIFACT))
    if problems:
        raise InputsInvalid(
            "; ".join(m for m, _ in problems), hint="; ".join(dict.fromkeys(h for _, h in problems if h))
        )
    return checked


_ARTIFACT = "put large values into an object store and pass their URI"


def most_outputs(index: int) -> int:
    """How many bytes of JSON the outputs of an execution may have.

    Args:
        index: of the item, as run keys have it; 0 for a step.
    """
    return MAX_ITEM_OUTPUTS if index else MAX_OUTPUTS


def size_of(value: JsonValue) -> int:
    """Bytes of its JSON; of what is no JSON (not a number, a lone surrogate) those of its text."""
    try:
        return len(canonical_json(value))
    except ValueError:
        return len(str(value))


def mismatch(value: JsonValue, declared: Input) -> str | None:
    """Why a value does not fit a declared input; None when it does."""
    if value is None:
        return None if not declared.is_required else f"expected {_ARTICLE[declared.type]}, got null"
    return type_mismatch(value, declared.type)


def type_mismatch(value: JsonValue, declared: ValueType) -> str | None:
    """Why a value is not of a type; None when it is."""
    wanted = _ARTICLE[declared]
    if not _is_json(value):
        return "holds something that is no JSON (not a number, infinite, or broken text)"
    if declared in (ValueType.INTEGER, ValueType.NUMBER):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"expected {wanted}, got {show(value)}"
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            return "expected an integer of at most 64 bits"
        if declared is ValueType.INTEGER and isinstance(value, float):
            return f"expected {wanted}, got {show(value)}"
        return None
    shapes = {ValueType.STRING: str, ValueType.BOOLEAN: bool, ValueType.LIST: list, ValueType.OBJECT: dict}
    return None if isinstance(value, shapes[declared]) else f"expected {wanted}, got {show(value)}"


def as_declared(value: JsonValue, declared: ValueType) -> JsonValue:
    """An integer where a number is declared as a number, so that expressions compute with it as one."""
    if declared is ValueType.NUMBER and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def show(value: JsonValue) -> str:
    """A value in a message: short, as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_input(text: str, declared: ValueType | None) -> JsonValue:
    """Read the value of `-i key=value`.

    Args:
        text: what stands after the `=`.
        declared: the input's type; None when it is not known here, then JSON is read where it is JSON.

    Raises:
        InputsInvalid: the text is no value of that type.
    """
    if declared is ValueType.STRING:
        return text
    try:
        value: JsonValue = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        if declared is None:
            return text
        raise InputsInvalid(f"expected {_ARTICLE[declared]}, got {show(text)}", hint=_FORMS[declared]) from None
    if declared is not None and (fault := type_mismatch(value, declared)) is not None:
        raise InputsInvalid(fault, hint=_FORMS[declared])
    return value


_FORMS = {
    ValueType.INTEGER: "write it as 3",
    ValueType.NUMBER: "write it as 0.5",
    ValueType.BOOLEAN: "write true or false",
    ValueType.LIST: "write it as JSON: '[1, 2]'",
    ValueType.OBJECT: "as JSON: '{\"a\": 1}'",
}


def _no_constant(name: str) -> JsonValue:
    raise ValueError(name)


def _is_json(value: JsonValue) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return not any(0xD800 <= ord(c) <= 0xDFFF for c in value) if not value.isascii() else True
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(_is_json(key) and _is_json(item) for key, item in value.items())
    return True
