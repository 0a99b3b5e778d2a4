"""Expressions of triggers: they read `event`, a message, and `events`, those that become one run together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from workflows.errors import ExpressionFailed
from workflows.expressions.cel import Program
from workflows.expressions.check import Checked, check_against, check_limits
from workflows.expressions.promote import compile_expression
from workflows.expressions.types import ExprType
from workflows.values import JsonObject, JsonValue

VARIABLES = {"event": ExprType.OBJECT, "events": ExprType.LIST}
_READS = "a trigger's expressions read event.<field>; steps and inputs are not there yet"


def check_event_expression(text: str) -> Checked:
    """Check an expression of a trigger; what fields a message has is known when it comes."""
    if issues := check_limits(text):
        return Checked(ExprType.ANY, (), tuple(issues))
    return check_against(text, VARIABLES, _READS)


def event_evaluator(events: Sequence[JsonObject], place: str) -> Callable[[str], JsonValue]:
    """Evaluates expressions on messages.

    Args:
        events: what expressions see of them, in order; `event` is the last.
        place: where the expressions stand, for messages.

    Returns:
        A function that raises ExpressionFailed when an expression cannot be computed on them.
    """
    seen: list[JsonValue] = list(events)
    values: JsonObject = {"event": seen[-1], "events": seen}

    def evaluate(text: str) -> JsonValue:
        try:
            return _program(text).evaluate(values)
        except ExpressionFailed as error:
            raise ExpressionFailed(f"{place}: {error.message}", hint=error.hint) from error

    return evaluate


@lru_cache(maxsize=1024)
def _program(text: str) -> Program:
    """Messages come by the thousand, and the expressions of a trigger stay the same."""
    return compile_expression(text, VARIABLES)
