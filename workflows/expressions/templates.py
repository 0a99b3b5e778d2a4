"""Strings with expressions in them: `${{ expr }}` alone keeps its type, inside other text it becomes text.

`$${{` stands for a `${{` that is meant as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workflows.errors import ExpressionFailed
from workflows.expressions.tokens import Kind, tokenize
from workflows.values import JsonValue

OPEN, CLOSE, ESCAPED = "${{", "}}", "$${{"


class TemplateMalformed(ExpressionFailed):
    """A `${{` without its end, or with nothing in it.

    Attributes:
        offset: of the `${{` in the string, in code points.
    """

    def __init__(self, message: str, offset: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Embedded:
    """An expression inside a string.

    Attributes:
        text: the expression, without the braces and the spaces around it.
        offset: of its first character in the string, in code points.
    """

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Template:
    """A string, taken apart.

    Attributes:
        parts: literal text and expressions, in order.
    """

    parts: tuple[str | Embedded, ...]

    @property
    def expressions(self) -> tuple[Embedded, ...]:
        return tuple(p for p in self.parts if isinstance(p, Embedded))

    @property
    def whole(self) -> Embedded | None:
        """The one expression that the string consists of; its value keeps its type."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Embedded) else None

    def render(self, evaluate: Callable[[str], JsonValue]) -> JsonValue:
        """The string with the values of its expressions: text as it is, everything else as JSON."""
        if (whole := self.whole) is not None:
            return evaluate(whole.text)
        return "".join(p if isinstance(p, str) else as_text(evaluate(p.text)) for p in self.parts)


def as_text(value: JsonValue) -> str:
    """How a value stands inside other text: equal values are equal text, as the library keeps no order of keys."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def parse_template(text: str) -> Template:
    """Take a string apart.

    Raises:
        TemplateMalformed: a `${{` that is not closed or is empty.
    """
    parts: list[str | Embedded] = []
    literal = ""
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        if text.startswith(ESCAPED, start - 1) and start > position:
            literal += text[position : start - 1] + OPEN
            position = start + len(OPEN)
            continue
        literal += text[position:start]
        inner = start + len(OPEN)
        end = _end_of_expression(text, inner)
        if end < 0:
            raise TemplateMalformed("'${{' without '}}'", start, hint="close it, or write $${{ for the characters")
        body = text[inner:end]
        if not body.strip():
            raise TemplateMalformed("an empty expression", start, hint="write one between '${{' and '}}'")
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(Embedded(body.strip(), inner + len(body) - len(body.lstrip())))
        position = end + len(CLOSE)
    literal += text[position:]
    if literal or not parts:
        parts.append(literal)
    return Template(tuple(parts))


def _end_of_expression(text: str, start: int) -> int:
    """Offset of the `}}` that ends the expression, which is none inside a string or an object of the expression."""
    depth = 0
    for token in tokenize(text[start:]):
        if token.kind is not Kind.OPERATOR:
            continue
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0:
                at = start + token.start
                return at if text.startswith(CLOSE, at) else -1
            depth -= 1
    return -1


def walk_strings(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string in a value, with the path to it; keys of objects are no templates."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from walk_strings(item, (*path, i))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk_strings(item, (*path, key))


def render_value(value: JsonValue, evaluate: Callable[[str], JsonValue]) -> JsonValue:
    """A value with every template in it rendered."""
    if isinstance(value, str):
        return parse_template(value).render(evaluate)
    if isinstance(value, list):
        return [render_value(item, evaluate) for item in value]
    if isinstance(value, dict):
        return {key: render_value(item, evaluate) for key, item in value.items()}
    return value
