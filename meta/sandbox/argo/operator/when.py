"""`when` expressions after substitution, as the real controller evaluates them with govaluate (controller/steps.go).

Words that are not quoted are strings, so `{{tasks.flip.outputs.result}} == heads` works. Words may hold letters,
digits, `_` and `.` only; anything else, a hyphen too, needs quotes. `==` of a number and a string is false, and an
order is only defined between two of a kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Value = str | float | bool


class WhenError(Exception):
    """The expression cannot be read or has no truth value."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "value", "op", "(", ")"
    value: Value


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<op>==|!=|>=|<=|=~|!~|&&|\|\||<|>|!|-)
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
    """Precedence, low to high: `||`, `&&`, comparisons, prefix `!` and `-`."""

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
        left = self._prefix()
        while operator := self._take("==", "!=", ">=", "<=", "<", ">", "=~", "!~"):
            left = self._compare(operator, left, self._prefix())
        return left

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
        return _Token("value", {"true": True, "false": False}.get(text, text))
    if match.lastgroup == "paren":
        return _Token(text, text)
    return _Token("op", text)


def _ordered(operator: str, sign: int) -> bool:
    return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[operator]
