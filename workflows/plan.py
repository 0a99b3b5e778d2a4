"""From a definition to the order of its steps: pure, deterministic, computed inside the Temporal workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from workflows.errors import DefinitionInvalid, Problem
from workflows.expressions.references import Reference, references
from workflows.expressions.templates import parse_template, walk_strings
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Step


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step and what must have ended before it begins.

    Attributes:
        dependencies: `needs` and every step that an expression of it mentions, in the definition's order.
        decides_for: the dependencies whose state its `when` reads; when one of them did not succeed, `when` decides.
    """

    name: str
    dependencies: tuple[str, ...]
    decides_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, each after those it depends on; as far as that allows, in the definition's order."""

    steps: tuple[PlannedStep, ...]

    def __getitem__(self, name: str) -> PlannedStep:
        return next(s for s in self.steps if s.name == name)


def make_plan(definition: MetaWorkflow) -> Plan:
    """Order the steps of a definition.

    Raises:
        DefinitionInvalid: the steps form a circle, or need a step that does not exist.
        ExpressionFailed: an expression whose references cannot be read. Validation finds all of these earlier.
    """
    positions = {name: i for i, name in enumerate(definition.steps)}
    planned = [_plan_step(name, step, positions) for name, step in definition.steps.items()]
    if missing := {d for p in planned for d in p.dependencies} - set(positions):
        raise DefinitionInvalid([Problem(f"unknown step '{name}'", path="steps") for name in sorted(missing)])
    followers: dict[str, list[int]] = {name: [] for name in positions}
    for i, step in enumerate(planned):
        for dependency in step.dependencies:
            followers[dependency].append(i)
    open_dependencies = [len(step.dependencies) for step in planned]
    ready = [i for i, count in enumerate(open_dependencies) if count == 0]  # a heap: the smallest position first
    ordered: list[PlannedStep] = []
    while ready:
        step = planned[heappop(ready)]
        ordered.append(step)
        for follower in followers[step.name]:
            open_dependencies[follower] -= 1
            if open_dependencies[follower] == 0:
                heappush(ready, follower)
    if len(ordered) < len(planned):
        circle = find_circle({p.name: p.dependencies for p in planned})
        raise DefinitionInvalid([Problem(circle_message(circle), path=f"steps.{circle[0]}")])
    return Plan(tuple(ordered))


def plan_step(definition: MetaWorkflow, name: str) -> PlannedStep:
    """What one step depends on."""
    return _plan_step(name, definition.steps[name], {name: i for i, name in enumerate(definition.steps)})


def _plan_step(name: str, step: Step, positions: Mapping[str, int]) -> PlannedStep:
    mentioned = {r.step for text in step_expressions(step) for r in references(text) if r.step is not None}
    # Unknown ones last, so that whoever checks can name them.
    dependencies = sorted({*step.needs, *mentioned}, key=lambda n: (positions.get(n, len(positions)), n))
    states = {r.name for r in _when_references(step) if r.field == "state"}
    return PlannedStep(name, tuple(dependencies), tuple(d for d in dependencies if d in states))


def step_expressions(step: Step) -> Iterator[str]:
    """Every expression of a step: its `when`, and those in its parameters, artifacts and `cache.key`."""
    if step.when is not None:
        yield step.when
    templates = [text for _, text in walk_strings(step.parameters)]
    if step.caching is not None and step.caching.key is not None:
        templates.append(step.caching.key)
    for text in (*templates, *step.artifacts.values()):
        yield from (e.text for e in parse_template(text).expressions)


def find_circle(dependencies: dict[str, tuple[str, ...]]) -> list[str]:
    """A circle of steps, each needing the next, the last needing the first; empty when there is none."""
    done: set[str] = set()
    for start, needed in dependencies.items():
        path: list[str] = []
        stack = [(start, iter(needed))] if start not in done else []
        while stack:
            name, rest = stack[-1]
            if len(path) < len(stack):
                path.append(name)
            following = next((d for d in rest if d in dependencies and d not in done), None)
            if following is None:
                done.add(name)
                path.pop()
                stack.pop()
            elif following in path:
                return path[path.index(following) :]
            else:
                stack.append((following, iter(dependencies[following])))
    return []


def circle_message(circle: list[str]) -> str:
    """`steps need each other in a circle: a -> b -> a`."""
    if len(circle) == 1:
        return f"step '{circle[0]}' needs itself"
    return f"steps need each other in a circle: {' -> '.join([*circle, circle[0]])}"


def _when_references(step: Step) -> frozenset[Reference]:
    return references(step.when) if step.when is not None else frozenset()
