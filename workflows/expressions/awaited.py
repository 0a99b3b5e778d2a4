"""The condition of a step that waits for a message: it reads `event`, and what its step could read when it began."""

from __future__ import annotations

from collections.abc import Callable

from workflows.errors import ExpressionFailed
from workflows.expressions.cel import CompileFailed, Program
from workflows.expressions.promote import compile_expression
from workflows.expressions.types import ExprType, of_items, of_value
from workflows.inputs import show
from workflows.values import JsonObject


def event_condition(text: str, variables: JsonObject, place: str) -> Callable[[JsonObject], bool]:
    """Makes a function that tells whether a message is the one.

    Args:
        text: of the condition; empty: every message is.
        variables: what it reads beside `event`, by qualified name.
        place: where it stands, for errors.

    Returns:
        A function of what conditions see of a message, which raises ExpressionFailed where the condition cannot be
        computed on it, or gives something else than true or false.

    Raises:
        ExpressionFailed: it cannot be read at all.
    """
    if not text:
        return lambda _: True
    program = _compiled(text, variables, place)

    def fits(event: JsonObject) -> bool:
        try:
            answer = program.evaluate({**variables, "event": event})
        except ExpressionFailed as error:
            raise ExpressionFailed(f"{place}: {error.message}", hint=error.hint) from error
        if not isinstance(answer, bool):
            raise ExpressionFailed(
                f"{place}: '{text}' gives {show(answer)}, not true or false", hint="compare it with something"
            )
        return answer

    return fits


def _compiled(text: str, variables: JsonObject, place: str) -> Program:
    """On the types of the values at hand; where the checker refuses those, CEL itself may compute (see `resolve`)."""
    found = {name: of_items(value) if isinstance(value, list) else of_value(value) for name, value in variables.items()}
    types = {name: ExprType.ANY if type_ is ExprType.NULL else type_ for name, type_ in found.items()}
    try:
        return compile_expression(text, {**types, "event": ExprType.OBJECT})
    except CompileFailed:
        try:
            return compile_expression(text, {**dict.fromkeys(types, ExprType.ANY), "event": ExprType.OBJECT})
        except CompileFailed as error:
            raise ExpressionFailed(f"{place}: {error.message}", hint=error.hint) from error
