"""Mixed numbers: an integer beside a number becomes a number, as people expect and CEL does not do.

CEL has no `double * int`, and operators take no overloads of ours. So where the checker names a pair of the two, the
integer operand is wrapped in `double(...)` and the expression is checked again, until it passes or nothing is left to
wrap. Positions in reports stay those of what the user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from workflows.expressions.cel import CompileFailed, Issue, Program, compile_checked
from workflows.expressions.tokens import Kind, Token, tokenize
from workflows.expressions.types import ExprType

_MIXED = re.compile(r"overload for '(_\?_:_|_(?:[-+*/]|[<>]=?|[=!]=)_)' applied to '\((?:bool, |dyn, )?(\w+), (\w+)\)'")
_ROUNDS = 64
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
_PRECEDENCE = {operator: level for level, operators in enumerate(_LEVELS, 1) for operator in operators}
_OPENING, _CLOSING = "([{", ")]}"


def compile_expression(text: str, variables: Mapping[str, ExprType]) -> Program:
    """Check an expression, with integers promoted beside numbers.

    Raises:
        CompileFailed: with every issue that is left, at its place in `text`.
    """
    tokens = tokenize(text)
    wrapped: set[tuple[int, int]] = set()  # operands by start and end offset in `text`
    for _ in range(_ROUNDS):
        current, origins = _apply(text, wrapped)
        try:
            program = compile_checked(current, variables)
            program.source = text
            return program
        except CompileFailed as failure:
            issues = [replace(i, offset=origins[min(i.offset, len(origins) - 1)]) for i in failure.issues]
            more = {w for i in issues if (w := _operand_to_wrap(i, tokens)) is not None} - wrapped
            if not more:
                raise CompileFailed(text, issues) from None
            wrapped |= more
    raise CompileFailed(text, [Issue("too many integers beside numbers", 0, "write double(x) around them")])


def _apply(text: str, wrapped: set[tuple[int, int]]) -> tuple[str, list[int]]:
    """The text with the wraps in it, and for each of its characters the offset in `text` it came from."""
    opens = [start for start, _ in wrapped]
    closes = [end for _, end in wrapped]
    out: list[str] = []
    origins: list[int] = []

    def add(piece: str, origin: int) -> None:
        out.append(piece)
        origins.extend([origin] * len(piece))

    for offset in range(len(text) + 1):
        add(")" * closes.count(offset), offset)
        add("double(" * opens.count(offset), offset)
        if offset < len(text):
            add(text[offset], offset)
    return "".join(out), [*origins, len(text)]


def _operand_to_wrap(issue: Issue, tokens: list[Token]) -> tuple[int, int] | None:
    match = _MIXED.search(issue.raw)
    if match is None or set(match.groups()[1:]) != {"double", "int"}:
        return None
    at = next((i for i, t in enumerate(tokens) if t.start == issue.offset), None)
    if at is None:
        return None
    left_is_integer = match.group(2) == "int"
    if match.group(1) == "_?_:_":
        first, last = _then_branch(tokens, at) if left_is_integer else _else_branch(tokens, at)
    else:
        first, last = _left(tokens, at) if left_is_integer else _right(tokens, at)
    return (tokens[first].start, tokens[last].end) if first <= last else None


def _binary(tokens: list[Token], i: int) -> int | None:
    """Precedence of the binary operator at `i`; None when it is none, as a sign or a bracket."""
    text = tokens[i].text
    precedence = _PRECEDENCE.get(text)
    if precedence is None or tokens[i].kind is Kind.STRING:
        return None
    if text == "-":
        before = tokens[i - 1] if i else None
        follows_operand = before is not None and (
            (before.kind is Kind.OPERATOR and before.text in _CLOSING)
            or (before.kind is not Kind.OPERATOR and before.text != "in")
        )
        return precedence if follows_operand else None
    return precedence


def _right(tokens: list[Token], at: int) -> tuple[int, int]:
    precedence = _binary(tokens, at) or 0
    return at + 1, _scan(tokens, at + 1, precedence)


def _left(tokens: list[Token], at: int) -> tuple[int, int]:
    precedence = _binary(tokens, at) or 0
    depth, i = 0, at - 1
    while i >= 0:
        token = tokens[i]
        if token.kind is Kind.OPERATOR:
            depth += (token.text in _CLOSING) - (token.text in _OPENING)
            if depth < 0 or (depth == 0 and token.text in ",?:"):
                break
        if depth == 0 and (_binary(tokens, i) or 99) < precedence:
            break
        i -= 1
    return i + 1, at - 1


def _then_branch(tokens: list[Token], at: int) -> tuple[int, int]:
    return at + 1, _colon(tokens, at) - 1


def _else_branch(tokens: list[Token], at: int) -> tuple[int, int]:
    colon = _colon(tokens, at)
    return colon + 1, _scan(tokens, colon + 1, 0)


def _colon(tokens: list[Token], at: int) -> int:
    """The `:` of the `?` at `at`."""
    depth = nested = 0
    for i in range(at + 1, len(tokens)):
        text = tokens[i].text if tokens[i].kind is Kind.OPERATOR else ""
        depth += (text != "" and text in _OPENING) - (text != "" and text in _CLOSING)
        if depth == 0 and text == "?":
            nested += 1
        elif depth == 0 and text == ":":
            if nested == 0:
                return i
            nested -= 1
    return len(tokens)


def _scan(tokens: list[Token], start: int, weakest: int) -> int:
    """Index of the last word of the operand that begins at `start`.

    Args:
        tokens: of the whole expression.
        start: index of the operand's first word.
        weakest: an operator of this precedence or a lower one ends the operand.
    """
    depth, nested, i = 0, 0, start
    while i < len(tokens):
        text = tokens[i].text if tokens[i].kind is Kind.OPERATOR else " "
        depth += (text in _OPENING) - (text in _CLOSING)
        if depth < 0 or (depth == 0 and text == ","):
            break
        if depth == 0 and text in "?:":
            if weakest > 0 or (text == ":" and nested == 0):
                break
            nested += 1 if text == "?" else -1
        if depth == 0 and i > start and (_binary(tokens, i) or 99) <= weakest:
            break
        i += 1
    return i - 1
