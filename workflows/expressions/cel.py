"""The CEL library (`cel_expr_python`, cel-cpp by its makers) behind types of our own.

Variables are declared by their qualified names (`steps.train.outputs.accuracy`), so that the checker itself knows
what exists. The library bounds what an expression may cost: 32 levels of nesting, and a budget of iterations;
`workflows.expressions.cost` bounds what it does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_math

from workflows.errors import ExpressionFailed
from workflows.expressions.cost import check_reading, check_result
from workflows.expressions.types import ExprType, list_of, of_word
from workflows.expressions.words import in_words, runtime_words
from workflows.values import JsonValue

MAX_LENGTH = 4096
"""Longest expression, in characters."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong in an expression.

    Attributes:
        offset: where, in code points from the expression's start.
        raw: the library's own words, from which `workflows.expressions.promote` learns what to mend.
    """

    message: str
    offset: int = 0
    hint: str = ""
    raw: str = ""


class CompileFailed(ExpressionFailed):
    """An expression that the checker refuses."""

    def __init__(self, expression: str, issues: list[Issue]) -> None:
        self.issues = tuple(issues)
        first = issues[0]
        super().__init__(f"expression '{expression}': {first.message}", hint=first.hint)


class ValueMissing(ExpressionFailed):
    """An evaluation came to a variable that has no value.

    Attributes:
        name: the qualified name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' has no value")
        self.name = name


_NO_VALUE = re.compile(r'No value with name "([^"]+)" found')


class Program:
    """A checked expression.

    Attributes:
        source: as the user wrote it.
        returns: type of its value.
    """

    def __init__(self, source: str, expression: cel.Expression) -> None:
        self.source = source
        self._expression = expression
        self.returns = of_word(expression.return_type().name())

    def evaluate(self, values: Mapping[str, JsonValue]) -> JsonValue:
        """Compute it.

        Args:
            values: by qualified name, for every variable that it reads.

        Raises:
            ExpressionFailed: it cannot be computed on these values, would cost too much, or its value is none of
                JSON's.
        """
        check_reading(self.source, values)
        try:
            value = self._expression.eval(data=values)
            failed = value.type() == cel.Type.ERROR
            plain = cast(object, value.plain_value())
        except (RuntimeError, OverflowError, TypeError, ValueError) as error:
            # The binding raises these for values it cannot take and for its own limits.
            failed, plain = True, str(error)
        if failed and (match := _NO_VALUE.search(str(plain))):
            raise ValueMissing(match.group(1))
        if failed:
            message, hint = runtime_words(str(plain))
            raise ExpressionFailed(f"expression '{self.source}': {message}", hint=hint)
        result = self._json(plain)
        check_result(self.source, result)
        return result

    def _json(self, value: object) -> JsonValue:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            raise ExpressionFailed(f"expression '{self.source}' gives {value}, which is no JSON number")
        if isinstance(value, list):
            return [self._json(item) for item in cast(list[object], value)]
        if isinstance(value, dict):
            items = cast(dict[object, object], value)
            return {self._key(key): self._json(item) for key, item in items.items()}
        raise ExpressionFailed(
            f"expression '{self.source}' gives {type(value).__name__}, which is no JSON value",
            hint="wrap it in string(...)",
        )

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            return key
        raise ExpressionFailed(
            f"expression '{self.source}' gives an object whose key {key!r} is no string",
            hint="wrap the key in string(...)",
        )


_PLAIN = {
    ExprType.NUMBER: cel.Type.DOUBLE,
    ExprType.INTEGER: cel.Type.INT,
    ExprType.STRING: cel.Type.STRING,
    ExprType.BOOLEAN: cel.Type.BOOL,
    ExprType.LIST: cel.Type.List(cel.Type.DYN),
    ExprType.OBJECT: cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
}
_TYPES = _PLAIN | {list_of(element): cel.Type.List(type_) for element, type_ in _PLAIN.items()}


@lru_cache(maxsize=256)
def _environment(variables: frozenset[tuple[str, ExprType]]) -> cel.Env:
    declared = {name: _TYPES.get(type_, cel.Type.DYN) for name, type_ in variables}
    return cel.NewEnv(variables=declared, extensions=[ext_math.ExtMath()])


_ERROR = re.compile(r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \[[A-Z_]+\])?$", re.MULTILINE)


def compile_checked(text: str, variables: Mapping[str, ExprType]) -> Program:
    """Parse and check an expression as it stands.

    Raises:
        CompileFailed: with every issue that the checker names.
    """
    try:
        return Program(text, _environment(frozenset(variables.items())).compile(text))
    except (RuntimeError, ValueError) as error:  # the binding raises both for what it refuses
        raise CompileFailed(text, _issues(text, str(error))) from None


def _issues(text: str, report: str) -> list[Issue]:
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    issues: list[Issue] = []
    for line, column, raw in cast(list[tuple[str, str, str]], _ERROR.findall(report)):
        offset = 0
        if int(line) >= 1:
            offset = min(starts[min(int(line), len(starts)) - 1] + max(int(column) - 1, 0), len(text))
        message, hint = in_words(raw, is_call=text[offset : offset + 1] == "(" or _calls(text, offset))
        issues.append(Issue(message, offset, hint, raw))
    if not issues:
        message, hint = in_words(report, is_call=False)
        issues.append(Issue(message, 0, hint, report))
    return _distinct(issues)


def _calls(text: str, offset: int) -> bool:
    return re.match(r"[A-Za-z_0-9]*\s*\(", text[offset:]) is not None


def _distinct(issues: list[Issue]) -> list[Issue]:
    """Drop what follows from an earlier issue: repeats, and operands that are errors themselves."""
    seen: set[tuple[str, int]] = set()
    kept: list[Issue] = []
    for issue in issues:
        key = (issue.message, issue.offset)
        if key not in seen and not ("*error*" in issue.raw and kept):
            seen.add(key)
            kept.append(issue)
    return kept
