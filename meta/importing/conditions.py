"""Conditions of a sensor's trigger: which dependencies start it, alone or only together.

Source: argo-events, `docs/sensors/trigger-conditions.md`: names of dependencies with `&&`, `||` and brackets; without
conditions all of them together.
"""

from __future__ import annotations

import re

from meta.importing.paths import NotCarried

_TOKEN = re.compile(r"\s*(&&|\|\||[()]|[A-Za-z0-9_][A-Za-z0-9_.-]*)")
_MOST = 64  # alternatives; more are no condition that a person has written


def alternatives(conditions: str, names: list[str]) -> list[frozenset[str]]:
    """The sets of dependencies, each of which starts the trigger.

    Args:
        conditions: as the sensor has them; empty for none.
        names: of all its dependencies.

    Raises:
        NotCarried: it cannot be read, or names what is no dependency.
    """
    if not conditions.strip():
        return [frozenset(names)]
    parser = _Parser(conditions, names)
    found = parser.either()
    if parser.rest:
        raise NotCarried(f"the conditions '{conditions}' cannot be read at '{parser.rest}'")
    # what holds already with fewer dependencies adds nothing
    return [one for one in dict.fromkeys(found) if not any(other < one for other in found)]


class _Parser:
    def __init__(self, text: str, names: list[str]) -> None:
        self._text, self._names, self._at = text, names, 0

    @property
    def rest(self) -> str:
        return self._text[self._at :].strip()

    def either(self) -> list[frozenset[str]]:
        found = self._both()
        while self._take("||"):
            found = [*found, *self._both()]
        return found

    def _both(self) -> list[frozenset[str]]:
        found = self._one()
        while self._take("&&"):
            found = [a | b for b in self._one() for a in found]
            if len(found) > _MOST:
                raise NotCarried(f"the conditions '{self._text}' have more than {_MOST} alternatives")
        return found

    def _one(self) -> list[frozenset[str]]:
        if self._take("("):
            found = self.either()
            if not self._take(")"):
                raise NotCarried(f"the conditions '{self._text}' have a bracket that is not closed")
            return found
        match = _TOKEN.match(self._text, self._at)
        if match is None or match[1] in ("&&", "||", "(", ")"):
            raise NotCarried(f"the conditions '{self._text}' cannot be read at '{self.rest}'")
        if match[1] not in self._names:
            raise NotCarried(f"the conditions name '{match[1]}', which is no dependency")
        self._at = match.end()
        return [frozenset([match[1]])]

    def _take(self, token: str) -> bool:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match[1] != token:
            return False
        self._at = match.end()
        return True
