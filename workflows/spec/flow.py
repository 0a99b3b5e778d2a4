"""Whether what a definition says about its flow makes sense: fan-outs, what comes after failures, `finally`, time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from math import prod

from workflows.errors import Problem
from workflows.expressions.types import ExprType, element_of, is_list
from workflows.expressions.variables import item_types
from workflows.foreach_items import MAX_ITEMS
from workflows.outcome import StepKind
from workflows.spec.locate import Locator, Path
from workflows.spec.models import COMPENSATE, MetaWorkflow
from workflows.spec.retrying import A_KIND
from workflows.spec.steps import Range, Step
from workflows.suggest import did_you_mean
from workflows.values import JsonValue

CheckValue = Callable[[Path, JsonValue], Generator[Problem, None, ExprType]]
"""Problems of a value that may hold expressions; returns its type."""


def check_names(definition: MetaWorkflow, locate: Locator) -> Iterator[Problem]:
    """Names that two things of a run would have."""
    for name in definition.finally_:
        if name in definition.steps:
            hint = "give one of them another name"
            yield locate.problem(("finally", name), f"'{name}' is a step already", hint=hint, key=True)
    for name, step in definition.steps.items():
        own = COMPENSATE + name
        for group, others in (("steps", definition.steps), ("finally", definition.finally_)):
            if step.compensate is not None and own in others:
                message = f"'{own}' is the name of what takes step '{name}' back"
                yield locate.problem((group, own), message, hint="give this step another name", key=True)


def check_needs(at: Path, step: Step, definition: MetaWorkflow, locate: Locator) -> Iterator[Problem]:
    """Problems of `needs` of a step, or of a step of `finally`."""
    is_finally = at[0] == "finally"
    known = {**definition.steps, **definition.finally_} if is_finally else definition.steps
    for i, needed in enumerate(step.needs):
        path = (*at, "needs", i)
        if needed in known:
            continue
        if needed in definition.finally_:
            message = f"'{needed}' is a step of 'finally', which begins when all steps have ended"
            yield locate.problem(path, message, hint="move it to 'steps'")
        else:
            hint = did_you_mean(needed, [n for n in known if n != at[-1]], what="steps")
            yield locate.problem(path, f"unknown step '{needed}'", hint=hint)


def check_flow(at: Path, step: Step, locate: Locator) -> Iterator[Problem]:
    """Problems of `continueOn`, `compensate`, and of times that are none."""
    for word in sorted({w for w in step.continue_on if step.continue_on.count(w) > 1}):
        yield locate.problem((*at, "continueOn"), f"'{word}' stands twice")
    if step.compensate is not None and at[0] == "finally":
        hint = "undo it in a later step of 'finally'"
        yield locate.problem(
            (*at, "compensate"), "a step of 'finally' is not taken back: nothing comes after it", hint=hint, key=True
        )
    if step.compensate is not None and step.kind is StepKind.WAIT:
        message = "a wait does nothing that could be taken back"
        yield locate.problem((*at, "compensate"), message, hint="move it to the step that does", key=True)
    for path, duration in _durations(step):
        if duration is not None and not duration:
            what = "a timeout" if path[-1].lower().endswith("timeout") else f"'{path[-1]}'"
            yield locate.problem((*at, *path), f"{what} of nothing; write it as 30s, 10m, 2h")


def _durations(step: Step) -> Iterator[tuple[tuple[str, ...], timedelta | None]]:
    yield ("timeout",), step.timeout
    yield ("attemptTimeout",), step.attempt_timeout
    if step.approval is not None:
        yield ("approval", "timeout"), step.approval.timeout
    if step.wait is not None:
        yield ("wait", "duration"), step.wait.duration
    if step.activity is not None:
        yield ("activity", "heartbeatTimeout"), step.activity.heartbeat_timeout
        yield ("activity", "scheduleTimeout"), step.activity.schedule_timeout


def check_foreach(
    at: Path, step: Step, check: CheckValue, locate: Locator
) -> Generator[Problem, None, dict[str, ExprType]]:
    """Problems of `foreach`.

    Args:
        at: where the step stands.
        step: perhaps without any.
        check: of values, in what the step can read before it has items.
        locate: where things stand.

    Returns:
        Types of `item`, `index` and the fields of `item`; empty without a fan-out.
    """
    foreach = step.foreach
    if foreach is None:
        return {}
    path = (*at, "foreach")
    if step.kind in (StepKind.APPROVAL, StepKind.WAIT):
        message = f"{A_KIND[step.kind]} cannot run once for each item"
        hint = "ask once, with all of them in the prompt" if step.kind is StepKind.APPROVAL else "wait once, before it"
        yield locate.problem(path, message, hint=hint, key=True)
    if foreach.items is not None:
        found = yield from _list(path if _is_bare(path, locate) else (*path, "items"), foreach.items, check, locate)
        return item_types(found)
    if foreach.matrix is not None:
        fields = yield from _matrix((*path, "matrix"), foreach.matrix, check, locate)
        return item_types([], fields)
    bounds = foreach.range if isinstance(foreach.range, Range) else Range(to=foreach.range or 0)
    yield from _range((*path, "range"), bounds, check, locate)
    return item_types([ExprType.INTEGER])


def _is_bare(path: Path, locate: Locator) -> bool:
    return path in locate.values and (*path, "items") not in locate.values


def _list(
    path: Path, items: list[JsonValue] | str, check: CheckValue, locate: Locator
) -> Generator[Problem, None, list[ExprType]]:
    """Problems of a list, or of an expression that gives one; returns the types of its elements."""
    if isinstance(items, list):
        found: list[ExprType] = []
        for i, item in enumerate(items):
            type_ = yield from check((*path, i), item)
            found.append(type_)
        if not items:
            yield locate.problem(path, "there is nothing to run for: the list is empty")
        yield from _too_many(path, len(items), locate)
        return found
    found_type = yield from check(path, items)
    if "${{" not in items or not (is_list(found_type) or found_type is ExprType.ANY):
        what = f"this is {found_type}" if "${{" in items else f"'{items}' is none"
        hint = "write ${{ inputs.<name> }} or ${{ steps.<step>.outputs.<name> }}, or the list itself"
        yield locate.problem(path, f"an expression that gives a list is wanted, and {what}", hint=hint)
    return [element_of(found_type)]


def _matrix(
    path: Path, matrix: dict[str, list[JsonValue] | str], check: CheckValue, locate: Locator
) -> Generator[Problem, None, dict[str, ExprType]]:
    fields: dict[str, ExprType] = {}
    if not matrix:
        yield locate.problem(path, "there is nothing to run for: the matrix has no names")
    for name, values in matrix.items():
        found = yield from _list((*path, name), values, check, locate)
        fields[name] = item_types(found)["item"]
    # What expressions give is counted when the step begins.
    yield from _too_many(path, prod(len(v) for v in matrix.values() if isinstance(v, list) and v), locate)
    return fields


def _range(path: Path, bounds: Range, check: CheckValue, locate: Locator) -> Iterator[Problem]:
    for key, value in (("from", bounds.start), ("to", bounds.to)):
        if not isinstance(value, str):
            continue
        found = yield from check((*path, key), value)
        if found not in (ExprType.INTEGER, ExprType.ANY):
            what = f"this is {found}" if "${{" in value else f"'{value}' is none"
            yield locate.problem((*path, key), f"an integer is wanted, and {what}", hint="int(x) makes one of a number")
    if isinstance(bounds.start, int) and isinstance(bounds.to, int):
        count = len(range(bounds.start, bounds.to, bounds.step))
        if not count:
            message = f"there is nothing to run for: no integer is at least {bounds.start} and below {bounds.to}"
            yield locate.problem(path, message)
        yield from _too_many(path, count, locate)


def _too_many(path: Path, count: int, locate: Locator) -> Iterator[Problem]:
    if count > MAX_ITEMS:
        hint = "split them among several runs, or fan out inside the engine's own workflow"
        yield locate.problem(path, f"the step would run for {count:,} items, {MAX_ITEMS:,} at most", hint=hint)
