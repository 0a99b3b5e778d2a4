"""What can still be checked of a definition whose shape is wrong, so that a user sees slips of both kinds at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

from pydantic import ValidationError

from workflows.errors import Problem
from workflows.spec.locate import Path
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonValue

_ROUNDS = 8
_SOME_STEP: JsonValue = {"argo": {"template": "unknown"}}


@dataclass(frozen=True)
class Salvaged:
    """A definition without its wrong parts.

    Attributes:
        removed: names of what was taken out; what misses them is no problem of its own.
    """

    definition: MetaWorkflow
    removed: frozenset[str]

    def explains(self, problem: Problem) -> bool:
        """Whether a problem may come from what was taken out."""
        return any(f"'{name}'" in problem.message for name in self.removed)


def salvage(value: JsonValue, error: ValidationError) -> Salvaged | None:
    """Take out what the models refuse, as long as a definition remains.

    Args:
        value: what was validated.
        error: what the models found.
    """
    rest = copy.deepcopy(value)
    removed: set[str] = set()
    for _ in range(_ROUNDS):
        for details in error.errors(include_url=False):
            path: Path = tuple(details["loc"])
            if path[-1:] == ("[key]",) or details["type"] == "missing":
                path = path[:-1]
            while path and isinstance(path[-1], int):
                path = path[:-1]  # a list goes as a whole
            if len(path) < 2 and details["type"] != "extra_forbidden":
                return None
            removed.update(str(part) for part in path[-1:])
            _take_out(rest, path)
        try:
            definition = MetaWorkflow.model_validate(rest, by_alias=True, by_name=False)
        except ValidationError as again:
            error = again
        else:
            return Salvaged(definition, frozenset(removed))
    return None


def _take_out(value: JsonValue, path: Path) -> None:
    for part in path[:-1]:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
    key = path[-1]
    if isinstance(value, dict):
        if len(path) == 2 and path[0] == "steps" and value.get(cast(str, key)) != _SOME_STEP:
            value[str(key)] = _SOME_STEP  # others may need it
        else:
            value.pop(str(key), None)
