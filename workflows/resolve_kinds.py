"""Expressions of a step's kind: an approval's prompt, a wait's point in time, its subject and condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.references import references
from workflows.expressions.templates import as_text, render_value
from workflows.inputs import show, size_of
from workflows.spec.steps import Step
from workflows.values import JsonObject, JsonValue

MAX_TEXT = 16 * 1024
"""Most bytes of JSON of an approval's prompt: people read it, and it stands in every snapshot of the run."""

MAX_VARIABLES = 256 * 1024
"""Most bytes of JSON of the values that an event's condition reads beside the event."""

At = Callable[[str], Callable[[str], JsonValue]]
"""Gives the evaluation of expressions at a place, which errors name."""


def what_its_kind_says(name: str, step: Step, at: At) -> dict[str, Any]:
    """The fields of a `ResolvedStep` that only some kinds of steps have.

    Raises:
        ExpressionFailed: an expression cannot be computed, or gives what cannot be used there.
        InputsInvalid: what comes out is too large.
    """
    if step.approval is not None:
        prompt = as_text(render_value(step.approval.prompt, at(f"step '{name}', prompt")))
        _limit(f"step '{name}': its prompt has", size_of(prompt), MAX_TEXT, "pass what is long as an artifact")
        return {"text": prompt}
    wait = step.wait
    if wait is not None and wait.until is not None:
        return {"text": _text(wait.until, f"step '{name}', until", at)}
    if wait is not None and wait.event is not None:
        variables: JsonObject = {}
        if wait.event.when is not None:
            evaluate = at(f"step '{name}', event.when")
            variables = {str(one): evaluate(str(one)) for one in sorted(references(wait.event.when))}
        _limit(f"step '{name}': its condition reads", size_of(variables), MAX_VARIABLES, "compare smaller values")
        return {"text": _text(wait.event.subject, f"step '{name}', subject", at), "variables": variables}
    return {}


def _text(template: str, place: str, at: At) -> str:
    value = render_value(template, at(place))
    if not isinstance(value, str) or not value:
        raise ExpressionFailed(f"{place}: {show(value)} is no text", hint="wrap it in string(...)")
    return value


def _limit(words: str, size: int, most: int, hint: str) -> None:
    if size > most:
        raise InputsInvalid(f"{words} {size:,} bytes, {most:,} at most", hint=hint)
