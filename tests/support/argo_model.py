"""Argo's documented rules, written plainly: which nodes a DAG or steps template gets, and how each ends.

From the documentation: docs/enhanced-depends-logic.md, docs/walk-through/dag.md, steps.md, conditionals.md, loops.md,
retrying-failed-or-errored-steps.md. It knows nothing of the sandbox: a model to compare it with. Where the
documentation leaves open which of several failures names a DAG's phase, any of them will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

BAD = frozenset({"Failed", "Error"})


@dataclass(frozen=True)
class Call:
    """A task or a step.

    Attributes:
        plays: how its pods end: attempt k of item i as `plays[(i + k) % len(plays)]`.
        inner: the template it calls; None for a pod.
        runs: what its `when` says.
        items: how many items it loops over; None for no loop.
        retries: the limit of its retries; None for no retries.
        continues: the endings that do not count as failures.
        needs: its `dependencies`.
        depends: its `depends`: a name, (name, result), ("!", x), ("&&", x, y) or ("||", x, y).
    """

    name: str
    plays: tuple[str, ...] = ("Succeeded",)
    inner: Dag | Steps | None = None
    runs: bool = True
    items: int | None = None
    retries: int | None = None
    continues: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    depends: object = None


@dataclass(frozen=True)
class Dag:
    tasks: tuple[Call, ...]
    fail_fast: bool = True


@dataclass(frozen=True)
class Steps:
    groups: tuple[tuple[Call, ...], ...]


@dataclass
class Model:
    """What is expected.

    Attributes:
        nodes: by node name, the phases that are right.
        pods: by node name, how each pod ends; what is not here must not run.
    """

    nodes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    pods: dict[str, str] = field(default_factory=dict[str, str])

    def template(self, template: Dag | Steps, name: str) -> set[str]:
        """Everything below one use of a template; the phases it may end in."""
        phases = self._dag(template, name) if isinstance(template, Dag) else self._steps(template, name)
        self.nodes[name] = phases
        return phases

    def _call(self, call: Call, name: str, item: int = 0) -> set[str]:
        """One use of what a call calls: once, or until an attempt succeeds."""
        if not call.runs:
            phase = {"Skipped"}
        elif call.inner is not None:
            return self.template(call.inner, name)
        elif call.retries is None:
            phase = {call.plays[item % len(call.plays)]}
            self.pods[name] = min(phase)
        else:
            phase = set[str]()
            for attempt in range(call.retries + 1):
                phase = {call.plays[(item + attempt) % len(call.plays)]}
                self.nodes[f"{name}({attempt})"] = phase
                self.pods[f"{name}({attempt})"] = min(phase)
                if not phase & BAD:
                    break
        self.nodes[name] = phase
        return phase

    def _steps(self, steps: Steps, name: str) -> set[str]:
        """A group after the other, until one has a failure that nobody continues on."""
        for index, group in enumerate(steps.groups):
            failed = False
            for step in group:
                place = f"{name}[{index}].{step.name}"
                if step.items is None:
                    parts = [self._call(step, place)]
                else:
                    parts = [self._call(step, f"{place}({i}:i{i})", i) for i in range(step.items)]
                failed |= any(phases & BAD - step.continues for phases in parts)
            self.nodes[f"{name}[{index}]"] = {"Failed" if failed else "Succeeded"}
            if failed:
                return {"Failed"}
        return {"Succeeded"}

    def _dag(self, dag: Dag, name: str) -> set[str]:
        own: dict[str, set[str]] = {}  # how each task ended
        handed_on: dict[str, set[str]] = {}  # what the tasks after it inherit if they do not run themselves
        parts: dict[str, list[set[str]]] = {}
        calls = {task.name: task for task in dag.tasks}
        for task in dag.tasks:  # in an order in which what is needed comes first
            names = needed(task)
            above = set[str]().union(*(handed_on[need] for need in names)) if names else {"Succeeded"}
            place = f"{name}.{task.name}"
            if not all(_holds_one(need, own, calls) for need in task.needs) or (
                task.depends is not None and not _holds(task.depends, own, parts, calls)
            ):
                own[task.name] = self.nodes[place] = {"Omitted"}
                handed_on[task.name] = above
            elif task.items is not None:
                each = [self._call(task, f"{place}({i}:i{i})", i) for i in range(task.items)]
                bad = [phases for phases in each if phases & BAD]
                own[task.name] = self.nodes[place] = bad[-1] if bad else {"Succeeded"}
                handed_on[task.name] = set[str]().union(*(own[task.name] if p == {"Skipped"} else p for p in each))
                parts[task.name] = each
            else:
                own[task.name] = self._call(task, place)
                handed_on[task.name] = above if own[task.name] == {"Skipped"} else own[task.name]
                if task.inner is not None and own[task.name] & BAD:  # its own phase, or that of what failed in it
                    handed_on[task.name] = own[task.name] | BAD
        used = {need for task in dag.tasks for need in needed(task)}
        ends: list[set[str]] = []
        for task in sorted(dag.tasks, key=lambda t: t.name):
            if task.name not in used:
                ran = not own[task.name] <= {"Skipped", "Omitted"}
                phases = own[task.name] if ran else handed_on[task.name]
                if failures := (phases & BAD) - task.continues:
                    over = {"Succeeded"} if phases & BAD & task.continues else set[str]()
                    ends.append(failures | over)
        found = set[str]().union(*ends) if ends else {"Succeeded"}
        return found if all("Succeeded" in end for end in ends) else found - {"Succeeded"}


def needed(task: Call) -> list[str]:
    """The tasks that one waits for."""
    found: list[str] = list(task.needs)
    stack = [task.depends] if task.depends is not None else []
    while stack:
        expression = stack.pop()
        if isinstance(expression, str):
            found.append(expression)
        else:
            parts = cast("tuple[object, ...]", expression)
            if parts[0] in {"!", "&&", "||"}:
                stack.extend(parts[1:])
            else:
                found.append(str(parts[0]))
    return found


_Ends = dict[str, set[str]]
_Parts = dict[str, list[set[str]]]


def _holds(  # noqa: PLR0911 - one for each form
    expression: object, own: _Ends, parts: _Parts, calls: dict[str, Call]
) -> bool:
    if isinstance(expression, str):
        return _holds_one(expression, own, calls)
    match cast("tuple[object, ...]", expression):
        case ("!", inner):
            return not _holds(inner, own, parts, calls)
        case ("&&", left, right):
            return _holds(left, own, parts, calls) and _holds(right, own, parts, calls)
        case ("||", left, right):
            return _holds(left, own, parts, calls) or _holds(right, own, parts, calls)
        case (name, "AnySucceeded"):
            return any(phases == {"Succeeded"} for phases in parts.get(str(name), []))
        case (name, "AllFailed"):
            each = parts.get(str(name), [])
            return bool(each) and all(phases == {"Failed"} for phases in each)
        case (name, result):
            return own[str(name)] == {"Error" if result == "Errored" else str(result)}
        case _:
            raise AssertionError(expression)


def _holds_one(name: str, own: _Ends, calls: dict[str, Call]) -> bool:
    """A bare name: it succeeded or was skipped, or ended as it may."""
    return own[name] <= {"Succeeded", "Skipped"} | calls[name].continues


def show(expression: object) -> str:
    """`depends` as text."""
    if isinstance(expression, str):
        return expression
    match cast("tuple[object, ...]", expression):
        case ("!", inner):
            return f"!({show(inner)})"
        case ("&&" | "||" as operator, left, right):
            return f"({show(left)} {operator} {show(right)})"
        case (name, result):
            return f"{name}.{result}"
        case _:
            raise AssertionError(expression)
