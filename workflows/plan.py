"""From a definition to the order of its steps: pure, deterministic, computed inside the Temporal workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from workflows.errors import DefinitionInvalid, Problem
from workflows.expressions.references import Reference, references
from workflows.expressions.templates import parse_template, walk_strings
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Foreach, Range, Step
from workflows.values import JsonValue


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step and what must have ended before it begins.

    Attributes:
        dependencies: `needs` and every step that an expression of it mentions, in the definition's order. All steps
            have ended when `finally` begins, so a step of `finally` depends on others of it so, and on a step proper
            only where it needs it.
        decides_for: the dependencies whose state its `when` reads; when one of them did not succeed, `when` decides.
    """

    name: str
    dependencies: tuple[str, ...]
    decides_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, each after those it depends on; as far as that allows, in the definition's order.

    Attributes:
        finally_: the same of the steps of `finally`, which begin when all others have ended.
    """

    steps: tuple[PlannedStep, ...]
    finally_: tuple[PlannedStep, ...] = ()

    def __getitem__(self, name: str) -> PlannedStep:
        return next(s for s in (*self.steps, *self.finally_) if s.name == name)


def make_plan(definition: MetaWorkflow) -> Plan:
    """Order the steps of a definition.

    Raises:
        DefinitionInvalid: the steps form a circle, or need a step that does not exist.
        ExpressionFailed: an expression whose references cannot be read. Validation finds all of these earlier.
    """
    positions = _positions(definition)
    steps = [_plan_step(name, step, positions) for name, step in definition.steps.items()]
    finally_ = [_plan_finally(definition, name, positions) for name in definition.finally_]
    missing = {d for p in steps for d in p.dependencies} - set(definition.steps)
    if missing := missing | {d for p in finally_ for d in p.dependencies} - set(positions):
        raise DefinitionInvalid([Problem(f"unknown step '{name}'", path="steps") for name in sorted(missing)])
    return Plan(_ordered(steps, "steps"), _ordered(finally_, "finally"))


def plan_step(definition: MetaWorkflow, name: str) -> PlannedStep:
    """What one step depends on: a step, one of `finally`, or a compensation, which depends on nothing.

    Raises:
        KeyError: there is none of this name.
    """
    if name in definition.steps:
        return _plan_step(name, definition.steps[name], _positions(definition))
    if name in definition.finally_:
        return _plan_finally(definition, name, _positions(definition))
    definition.step(name)
    return PlannedStep(name, ())


def _positions(definition: MetaWorkflow) -> dict[str, int]:
    return {name: i for i, name in enumerate((*definition.steps, *definition.finally_))}


def _plan_finally(definition: MetaWorkflow, name: str, positions: Mapping[str, int]) -> PlannedStep:
    step = definition.finally_[name]
    planned = _plan_step(name, step, positions)
    waits = tuple(d for d in planned.dependencies if d not in definition.steps or d in step.needs)
    return PlannedStep(name, waits, tuple(d for d in planned.decides_for if d in waits))


def _ordered(planned: list[PlannedStep], path: str) -> tuple[PlannedStep, ...]:
    positions = {step.name: i for i, step in enumerate(planned)}
    followers: dict[str, list[int]] = {name: [] for name in positions}
    open_dependencies = [0] * len(planned)
    for i, step in enumerate(planned):
        for dependency in step.dependencies:
            if dependency in positions:  # else a step that has ended before
                followers[dependency].append(i)
                open_dependencies[i] += 1
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
        raise DefinitionInvalid([Problem(circle_message(circle), path=f"{path}.{circle[0]}")])
    return tuple(ordered)


def _plan_step(name: str, step: Step, positions: Mapping[str, int]) -> PlannedStep:
    mentioned = {r.step for text in step_expressions(step) for r in references(text) if r.step is not None}
    # Unknown ones last, so that whoever checks can name them.
    dependencies = sorted({*step.needs, *mentioned}, key=lambda n: (positions.get(n, len(positions)), n))
    states = {r.name for r in _when_references(step) if r.field == "state"}
    return PlannedStep(name, tuple(dependencies), tuple(d for d in dependencies if d in states))


def step_expressions(step: Step) -> Iterator[str]:
    """Every expression that is worked out before a step begins; not those of its compensation."""
    if step.when is not None:
        yield step.when
    if step.wait is not None and step.wait.event is not None and step.wait.event.when is not None:
        yield step.wait.event.when
    for _, value in step_templates(step):
        for _, text in walk_strings(value):
            yield from (e.text for e in parse_template(text).expressions)


def step_templates(step: Step) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """Every value of a step whose strings may hold expressions, with its place below the step."""
    for name, value in step.parameters.items():
        yield ("parameters", name), value
    for name, text in step.artifacts.items():
        yield ("artifacts", name), text
    if step.foreach is not None:
        yield from _foreach_templates(step.foreach)
    if step.approval is not None:
        yield ("approval", "prompt"), step.approval.prompt
    if step.wait is not None and step.wait.until is not None:
        yield ("wait", "until"), step.wait.until
    if step.wait is not None and step.wait.event is not None:
        yield ("wait", "event", "subject"), step.wait.event.subject
    if step.caching is not None and step.caching.key is not None:
        yield ("cache", "key"), step.caching.key


def _foreach_templates(foreach: Foreach) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    if foreach.items is not None:
        yield ("foreach", "items"), foreach.items
    if isinstance(foreach.range, Range):
        yield ("foreach", "range", "from"), foreach.range.start
        yield ("foreach", "range", "to"), foreach.range.to
    for name, values in (foreach.matrix or {}).items():
        yield ("foreach", "matrix", name), values


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
