"""`when` expressions after substitution, as the real controller evaluates them with govaluate (controller/steps.go).

Words that are not quoted are strings, so `{{tasks.flip.outputs.result}} == heads` works. Words may hold letters,
digits, `_` and `.` only; anything else, a hyphen too, needs quotes. `==` of a number and a string is false, and an
order is only defined between two of a kind.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

Value = str | float | bool
_ARITHMETIC = (("+", "-"), ("*", "/", "%"), ("**",))
_COMPUTED: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": math.fmod, "**": math.pow,
}  # fmt: skip


class WhenError(Exception):
    """The expression cannot be read or has no truth value."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "value", "op", "(", ")"
    value: Value


_WORDS = {"true": _Token("value", True), "false": _Token("value", False), "in": _Token("op", "in")}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<op>==|!=|>=|<=|=~|!~|&&|\|\||\*\*|<|>|!|-|\+|\*|/|%|,)
    | (?P<paren>[()])
    | (?P<word>[^\W\d][\w.]*)
    | (?P<bracketed>\[[^\]]*\])
    )""",
    re.VERBOSE,
)


def evaluate_when(expression: str) -> bool:
    """Decide whether a step runs; an empty expression is true.

    Raises:
        WhenError: not an expression, or not a boolean one.
    """
    if not expression.strip():
        return True
    result = _Parser(expression).parse()
    if not isinstance(result, bool):
        raise WhenError(f"Expected boolean evaluation for '{expression}'. Got {result}")
    return result


class _Parser:
    """Precedence, low to high: `||`, `&&`, comparisons and `in`, `+ -`, `* / %`, `**`, prefix `!` and `-`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan(text)
        self._at = 0

    def _fail(self, reason: str) -> WhenError:
        return WhenError(f"Invalid 'when' expression '{self._text}': {reason}")

    def _scan(self, text: str) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        stripped = text.rstrip()
        while at < len(stripped):
            match = _TOKEN.match(stripped, at)
            if match is None:
                raise self._fail(
                    f"Invalid token: '{stripped[at:].strip()}' "
                    '(hint: try wrapping the affected expression in quotes ("))'
                )
            tokens.append(_token(match))
            at = match.end()
        return tokens

    def parse(self) -> Value:
        value = self._either()
        if self._at < len(self._tokens):
            raise self._fail(f"Unexpected token '{self._tokens[self._at].value}'")
        return value

    def _take(self, *operators: str) -> str | None:
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == "op" and token.value in operators:
                self._at += 1
                return str(token.value)
        return None

    def _boolean(self, value: Value, operator: str) -> bool:
        if not isinstance(value, bool):
            raise self._fail(f"Value '{value}' cannot be used with the logical operator '{operator}', it is not a bool")
        return value

    def _either(self) -> Value:
        left = self._both()
        while self._take("||"):
            right = self._both()
            left = self._boolean(left, "||") | self._boolean(right, "||")
        return left

    def _both(self) -> Value:
        left = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            left = self._boolean(left, "&&") & self._boolean(right, "&&")
        return left

    def _comparison(self) -> Value:
        left = self._arithmetic(0)
        while operator := self._take("==", "!=", ">=", "<=", "<", ">", "=~", "!~", "in"):
            if operator == "in":
                left = any(self._compare("==", left, member) for member in self._members())
            else:
                left = self._compare(operator, left, self._arithmetic(0))
        return left

    def _members(self) -> list[Value]:
        """What stands after `in`: at least two values, as one in parentheses is that value."""
        start = self._at
        if self._next() == "(":
            self._at += 1
            members = [self._arithmetic(0)]
            while self._take(","):
                members.append(self._arithmetic(0))
            if len(members) > 1 and self._next() == ")":
                self._at += 1
                return members
        self._at = start
        raise self._fail(f"Value '{self._prefix()}' cannot be used with the comparator 'in', it is not an array")

    def _next(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _arithmetic(self, level: int) -> Value:
        if level == len(_ARITHMETIC):
            return self._prefix()
        left = self._arithmetic(level + 1)
        while operator := self._take(*_ARITHMETIC[level]):
            left = self._compute(operator, left, self._arithmetic(level + 1))
        return left

    def _compute(self, operator: str, left: Value, right: Value) -> Value:
        if operator == "+" and (isinstance(left, str) or isinstance(right, str)):
            return _text(left) + _text(right)
        for value in (left, right):
            if not isinstance(value, float):
                raise self._fail(f"Value '{value}' cannot be used with the modifier '{operator}', it is not a number")
        try:
            computed = _COMPUTED[operator](float(left), float(right))
        except (ArithmeticError, ValueError) as error:
            raise self._fail(str(error)) from error
        return float(computed)

    def _compare(self, operator: str, left: Value, right: Value) -> bool:
        if operator in {"==", "!="}:
            return (type(left) is type(right) and left == right) == (operator == "==")
        if operator in {"=~", "!~"}:
            if not isinstance(left, str) or not isinstance(right, str):
                raise self._fail(f"Value '{left}' cannot be used with the comparator '{operator}', it is not a string")
            try:
                return (re.search(right, left) is not None) == (operator == "=~")
            except re.error as error:
                raise self._fail(f"'{right}' is not a regular expression: {error}") from error
        if isinstance(left, float) and isinstance(right, float):
            return _ordered(operator, (left > right) - (left < right))
        if isinstance(left, str) and isinstance(right, str):
            return _ordered(operator, (left > right) - (left < right))
        raise self._fail(f"Values '{left}' and '{right}' cannot be used with the comparator '{operator}'")

    def _prefix(self) -> Value:
        if self._take("!"):
            return not self._boolean(self._prefix(), "!")
        if self._take("-"):
            value = self._prefix()
            if not isinstance(value, float):
                raise self._fail(f"Value '{value}' cannot be negated, it is not a number")
            return -value
        return self._operand()

    def _operand(self) -> Value:
        if self._at >= len(self._tokens):
            raise self._fail("Unexpected end of expression")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "value":
            return token.value
        if token.kind == "(":
            value = self._either()
            if self._at >= len(self._tokens) or self._tokens[self._at].kind != ")":
                raise self._fail("Unbalanced parenthesis")
            self._at += 1
            return value
        raise self._fail(f"Unexpected token '{token.value}'")


def _token(match: re.Match[str]) -> _Token:
    text = match.group(match.lastgroup or 0)
    if match.lastgroup == "number":
        return _Token("value", float(text))
    if match.lastgroup == "string":
        return _Token("value", re.sub(r"\\(.)", r"\1", text[1:-1]))
    if match.lastgroup == "bracketed":
        return _Token("value", text[1:-1])
    if match.lastgroup == "word":
        return _WORDS.get(text) or _Token("value", text)
    if match.lastgroup == "paren":
        return _Token(text, text)
    return _Token("op", text)


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _ordered(operator: str, sign: int) -> bool:
    return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[operator]
