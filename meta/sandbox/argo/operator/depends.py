"""`depends` of a DAG's tasks (workflow/common/ancestry.go): which tasks it names, and whether it holds."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from hera.workflows import models as m

from meta.sandbox.argo.state.status import Phase

RESULTS = frozenset({"Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed"})
_TOKEN = re.compile(r"\s*(?:(?P<op>&&|\|\||!|\(|\))|(?P<name>[a-zA-Z0-9][-\w]*)(?:\.(?P<result>[A-Za-z]+))?)")


class DependsError(Exception):
    """The expression cannot be read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task went; `children` are the phases of an expanded task's own tasks."""

    phase: Phase
    children: tuple[Phase, ...] | None = None

    def holds(self, result: str) -> bool:
        if result == "AnySucceeded":
            return Phase.SUCCEEDED in (self.children or ())
        if result == "AllFailed":
            return bool(self.children) and all(phase is Phase.FAILED for phase in self.children or ())
        wanted = {"Errored": Phase.ERROR, "Daemoned": None}
        return result != "Daemoned" and self.phase is wanted.get(result, _phase(result))


def _phase(result: str) -> Phase | None:
    return Phase(result) if result in {"Succeeded", "Failed", "Skipped", "Omitted"} else None


def depends_logic(task: m.DAGTask, tasks: Mapping[str, m.DAGTask]) -> str:
    """A task's whole condition: bare names and `dependencies` mean succeeded, skipped, or failed where allowed."""
    if task.depends:
        return task.depends
    return " && ".join(task.dependencies or [])


def dependencies(logic: str) -> list[str]:
    """The tasks that an expression names, each once.

    Raises:
        DependsError: not an expression.
    """
    return list(dict.fromkeys(name for kind, name, _ in _scan(logic) if kind == "name"))


def items_needed(logic: str) -> list[str]:
    """The tasks of which an expression asks how their items went."""
    of_items = {"AnySucceeded", "AllFailed"}
    return [name for kind, name, result in _scan(logic) if kind == "name" and result in of_items]


def ancestors(name: str, needs: Mapping[str, list[str]]) -> list[str]:
    """All tasks that must be over before a task may run, the nearest first."""
    found: dict[str, None] = {}
    queue = deque(needs[name])
    while queue:
        need = queue.popleft()
        if need not in found:
            found[need] = None
            queue.extend(needs[need])
    return list(found)


def _scan(logic: str) -> list[tuple[str, str, str | None]]:
    tokens: list[tuple[str, str, str | None]] = []
    at, text = 0, logic.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise DependsError(f"invalid depends expression '{logic}' at '{text[at:].strip()}'")
        if match.group("op"):
            tokens.append(("op", match.group("op"), None))
        else:
            result = match.group("result")
            if result is not None and result not in RESULTS:
                raise DependsError(f"task result '{result}' for task '{match.group('name')}' is invalid")
            tokens.append(("name", match.group("name"), result))
        at = match.end()
    return tokens


def evaluate_depends(logic: str, outcomes: Mapping[str, Outcome], tasks: Mapping[str, m.DAGTask]) -> bool:
    """Whether a task runs, given how every task that it names went.

    Raises:
        DependsError: not an expression.
        KeyError: an outcome is missing.
    """
    return _Reader(logic, outcomes, tasks).read()


class _Reader:
    def __init__(self, logic: str, outcomes: Mapping[str, Outcome], tasks: Mapping[str, m.DAGTask]) -> None:
        self._logic, self._outcomes, self._tasks = logic, outcomes, tasks
        self._tokens, self._at = _scan(logic), 0

    def read(self) -> bool:
        value = self._either()
        if self._at < len(self._tokens):
            raise self._fail()
        return value

    def _fail(self) -> DependsError:
        rest = " ".join(token[1] for token in self._tokens[self._at :]) or "its end"
        return DependsError(f"invalid depends expression '{self._logic}' at '{rest}'")

    def _take(self, operator: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][:2] == ("op", operator):
            self._at += 1
            return True
        return False

    def _either(self) -> bool:
        value = self._both()
        while self._take("||"):
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._one()
        while self._take("&&"):
            value = self._one() and value
        return value

    def _one(self) -> bool:
        if self._take("!"):
            return not self._one()
        if self._take("("):
            value = self._either()
            if not self._take(")"):
                raise self._fail()
            return value
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != "name":
            raise self._fail()
        _, name, result = self._tokens[self._at]
        self._at += 1
        outcome = self._outcomes[name]
        if result is not None:
            return outcome.holds(result)
        return any(outcome.holds(kind) for kind in bare_results(self._tasks.get(name)))


def bare_results(task: m.DAGTask | None) -> list[str]:
    """What a task's bare name stands for (expandDependency)."""
    results = ["Succeeded", "Skipped", "Daemoned"]
    if task is not None and task.continue_on is not None:
        results += ["Errored"] if task.continue_on.error else []
        results += ["Failed"] if task.continue_on.failed else []
    return results
