"""Label selectors, and the one field selector that Kubernetes has for every kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from meta.sandbox.argo.api.errors import ApiError, Code

Labels = Mapping[str, str]
_SET = re.compile(r"([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)")
_EQUAL = re.compile(r"([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)")
_NAME = re.compile(r"(!?)\s*([\w./-]+)")
_COMMA = re.compile(r",(?![^(]*\))")  # not inside the parentheses of a set


def label_selector(text: str) -> Callable[[Labels], bool]:
    """Read a selector: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas.

    Raises:
        ApiError: not a selector.
    """
    tests = [_requirement(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _requirement(part: str) -> Callable[[Labels], bool]:
    if match := _SET.fullmatch(part):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.fullmatch(part):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _NAME.fullmatch(part):
        negated, key = match.groups()
        return lambda labels: (key in labels) != bool(negated)
    raise ApiError(Code.INVALID_ARGUMENT, f"unable to parse requirement: {part}")


def name_selector(text: str) -> str | None:
    """The name in `metadata.name=x`; None for no selector.

    Raises:
        ApiError: another field.
    """
    if not text:
        return None
    match = re.fullmatch(r"metadata\.name==?([\w.-]+)", text)
    if match is None:
        raise ApiError(Code.INVALID_ARGUMENT, f"field label not supported: {text}")
    return match.group(1)
