"""`successCondition` and `failureCondition`: label selectors whose keys are paths into the object.

The executor reads them with Kubernetes' label selectors and looks up each key with gjson (matchConditions).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from meta.sandbox.argo.resources.kinds import KubectlError
from meta.sandbox.argo.state.status import JsonObject

_KEY = r"((?:[\w.-]+/)?[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)"
_SET = re.compile(rf"{_KEY}\s+(in|notin)\s*\(([^()]*)\)")
_COMPARED = re.compile(rf"{_KEY}\s*(==|=|!=|>|<)\s*([\w.-]*)")
_PRESENT = re.compile(rf"(!?)\s*{_KEY}")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?")
_COMMA = re.compile(r",(?![^(]*\))")
_WHOLE = re.compile(r"[+-]?\d+")


def _compare(test: Callable[[int, int], bool]) -> Callable[[str | None, frozenset[str]], bool]:
    def holds(found: str | None, values: frozenset[str]) -> bool:
        (limit,) = values
        return found is not None and _WHOLE.fullmatch(found) is not None and test(int(found), int(limit))

    return holds


def _among(found: str | None, values: frozenset[str]) -> bool:
    return found is not None and found in values


def _elsewhere(found: str | None, values: frozenset[str]) -> bool:
    return not _among(found, values)


_TESTS: Mapping[str, Callable[[str | None, frozenset[str]], bool]] = {
    "=": _among, "==": _among, "in": _among, "!=": _elsewhere, "notin": _elsewhere,
    ">": _compare(lambda found, limit: found > limit), "<": _compare(lambda found, limit: found < limit),
    "": lambda found, _: found is not None, "!": lambda found, _: found is None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a condition; as text it is written as Kubernetes writes it."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, body: JsonObject) -> bool:
        return _TESTS[self.operator](lookup(body, self.key), self.values)

    def __str__(self) -> str:
        listed = ",".join(sorted(self.values))
        if self.operator in {"in", "notin"}:
            return f"{self.key} {self.operator} ({listed})"
        return f"!{self.key}" if self.operator == "!" else f"{self.key}{self.operator}{listed}"


def read_condition(what: str, text: str | None) -> list[Requirement]:
    """Take a condition apart; its parts come by key.

    Args:
        what: `success` or `fail`, for the message.
        text: the condition; None for none.

    Raises:
        KubectlError: it is none.
    """
    try:
        found = [_requirement(part.strip()) for part in _COMMA.split(text or "") if part.strip()]
    except ValueError as error:
        raise KubectlError(f"{what} condition '{text}' failed to parse: {error}") from error
    return sorted(found, key=lambda one: one.key)


def _requirement(part: str) -> Requirement:
    if match := _SET.fullmatch(part):
        found = Requirement(match[1], match[2], frozenset(value.strip() for value in match[3].split(",")))
    elif match := _COMPARED.fullmatch(part):
        found = Requirement(match[1], match[2], frozenset({match[3]}))
    elif match := _PRESENT.fullmatch(part):
        found = Requirement(match[2], match[1])
    else:
        raise ValueError(f"unable to parse requirement: {part}")
    for value in found.values:
        if not _VALUE.fullmatch(value):
            raise ValueError(f"unable to parse requirement: Invalid value: '{value}'")
        if found.operator in {">", "<"} and not _WHOLE.fullmatch(value):
            raise ValueError("for 'Gt', 'Lt' operators, the value must be an integer")
    return found


def lookup(body: JsonValue, path: str) -> str | None:
    """What gjson finds at a path, as text; None where there is nothing."""
    found = body
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))


def is_met(body: JsonObject, success: list[Requirement], failure: list[Requirement]) -> bool:
    """Whether the wait is over.

    Raises:
        KubectlError: the object has failed.
    """
    for requirement in failure:
        if requirement.matches(body):
            raise KubectlError(f"failure condition '{requirement}' evaluated true")
    return all(requirement.matches(body) for requirement in success)
