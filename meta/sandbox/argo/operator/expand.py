"""`withItems`, `withParam`, `withSequence`: one step or task becomes several (processItem, expandSequence)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar, cast

from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.expressions import escaped
from meta.sandbox.argo.operator.context import OperationError
from meta.sandbox.argo.operator.tags import EVERY, replace

LONGEST_SEQUENCE = 10_000
CallT = TypeVar("CallT", m.WorkflowStep, m.DAGTask)


def expands(call: m.WorkflowStep | m.DAGTask) -> bool:
    return bool(call.with_items) or bool(call.with_param) or call.with_sequence is not None


def expand(call: CallT, values: Mapping[str, str | None]) -> list[CallT]:
    """A copy per item, named `name(index:item)`, with `{{item}}` replaced.

    Raises:
        OperationError: `withParam` is not a JSON list, or `withSequence` has no whole numbers.
        SubstitutionError: a tag stands for nothing, not even for a part of the item.
    """
    hooks = call.hooks  # may read the part itself, which has not run
    bare = call.model_copy(update={"with_items": None, "with_param": None, "with_sequence": None, "hooks": None})
    result: list[CallT] = []
    for index, item in enumerate(_items(call)):
        local: dict[str, str | None] = {**values, "item": _text(item)}
        label = _text(item)
        if isinstance(item, dict):
            local["item"] = escaped(_text(dict(sorted(item.items()))))
            local |= {f"item.{key}": _text(value) for key, value in item.items()}
            label = ",".join(sorted(f"{key}:{_text(value)}" for key, value in item.items()))
        elif isinstance(item, list):
            local["item"] = escaped(_text(item))
            label = f"[{' '.join(_text(part) for part in item)}]"
        copy = replace(bare, local, strict=EVERY)
        copy.hooks = hooks and {name: replace(hook, local) for name, hook in hooks.items()}
        copy.name = f"{call.name}({index}:{label.replace('(', '').replace(')', '')})"
        result.append(copy)
    return result


def _items(call: m.WorkflowStep | m.DAGTask) -> list[JsonValue]:
    if call.with_items:
        items = [item.model_dump(mode="json") for item in call.with_items]
        return cast("list[JsonValue]", json.loads(json.dumps(items, sort_keys=True)))  # as the Kubernetes API keeps it
    if call.with_sequence is not None:
        return list(_sequence(call.with_sequence))
    text = call.with_param or ""
    try:
        items = cast("JsonValue", json.loads(text))
    except json.JSONDecodeError as error:
        raise OperationError(f"withParam value could not be parsed as a JSON list: {text.strip()}: {error}") from error
    if not isinstance(items, list):
        raise OperationError(f"withParam value could not be parsed as a JSON list: {text.strip()}")
    return items


def _sequence(sequence: m.Sequence) -> list[str]:
    start = _whole("start", sequence.start, 0)
    if sequence.end is not None:
        end = _whole("end", sequence.end, 0)
    elif sequence.count is not None:
        count = _whole("count", sequence.count, 0)
        if count == 0:
            return []
        end = start + count - 1
    else:
        raise OperationError("neither end nor count was specified in withSequence")
    numbers = range(start, end + 1) if end >= start else range(start, end - 1, -1)
    if len(numbers) > LONGEST_SEQUENCE:
        raise OperationError(f"withSequence makes {len(numbers)} items; the sandbox allows {LONGEST_SEQUENCE}")
    pattern = sequence.format or "%d"
    try:
        return [pattern % number for number in numbers]
    except (TypeError, ValueError) as error:
        raise OperationError(f"withSequence.format '{pattern}' is not for one number: {error}") from error


def _whole(name: str, value: object, default: int) -> int:
    text = str(getattr(value, "root", value)) if value is not None else ""
    try:
        return int(text) if text else default
    except ValueError as error:
        raise OperationError(f"withSequence.{name}: '{text}' is not a whole number") from error


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
