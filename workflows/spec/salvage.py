"""What can still be checked of a definition whose shape is wrong, so that a user sees slips of both kinds at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

from pydantic import ValidationError

from workflows.errors import Problem
from workflows.spec.locate import Path, show_path
from workflows.spec.models import MetaWorkflow
from workflows.spec.unions import faults_of
from workflows.values import JsonValue

_ROUNDS = 8
_NEEDS_ITS_PARTS = ("foreach", "cache")
"""Keys that say something else without one of theirs."""
_SOME_STEP: JsonValue = {"argo": {"template": "unknown"}}


@dataclass(frozen=True)
class Salvaged:
    """A definition without its wrong parts.

    Attributes:
        removed: names of what was taken out; what misses them is no problem of its own.
        lacking: places that something was taken out of, so that what is left says too little.
    """

    definition: MetaWorkflow
    removed: frozenset[str]
    lacking: frozenset[str] = frozenset()

    def explains(self, problem: Problem) -> bool:
        """Whether a problem may come from what was taken out."""
        if any(problem.path.startswith(place) for place in self.lacking):
            return True
        return any(f"'{name}'" in problem.message for name in self.removed)


def salvage(value: JsonValue, error: ValidationError) -> Salvaged | None:
    """Take out what the models refuse, as long as a definition remains.

    Args:
        value: what was validated.
        error: what the models found.
    """
    rest = copy.deepcopy(value)
    removed: set[str] = set()
    lacking: set[str] = set()
    for _ in range(_ROUNDS):
        for fault in faults_of(error, rest):
            path, details = fault.path, fault.details
            if path[-1:] == ("[key]",) or details["type"] == "missing":
                path = path[:-1]
            while path and isinstance(path[-1], int):
                path = path[:-1]  # a list goes as a whole
            if len(path) < 2 and details["type"] != "extra_forbidden":
                return None
            removed.update(str(part) for part in path[-1:])
            if len(path) > 2 and path[2] in _NEEDS_ITS_PARTS:  # below the name of a step, which may be called so too
                removed.update(("item", "index") if path[2] == "foreach" else ())
                lacking.add(show_path(path[:3]))
            _take_out(rest, path)
        try:
            definition = MetaWorkflow.model_validate(rest, by_alias=True, by_name=False)
        except ValidationError as again:
            error = again
        else:
            return Salvaged(definition, frozenset(removed), frozenset(lacking))
    return None


def _take_out(value: JsonValue, path: Path) -> None:
    for part in path[:-1]:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
    key = path[-1]
    if isinstance(value, dict):
        if len(path) == 2 and path[0] in ("steps", "finally") and value.get(cast(str, key)) != _SOME_STEP:
            value[str(key)] = _SOME_STEP  # others may need it
        else:
            value.pop(str(key), None)
