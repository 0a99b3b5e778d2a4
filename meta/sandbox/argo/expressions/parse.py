"""Text to tree: the grammar of expr-lang (parser/parser.go), as far as it is supported."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meta.sandbox.argo.expressions.functions import CLOSURES
from meta.sandbox.argo.expressions.values import ExpressionError, Value

LONGEST = 4096  # characters
DEEPEST = 60


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or `#`, the item of a closure."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    base: Node
    key: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Choice:
    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[Node, Node], ...]


Node = Literal | Name | Member | Unary | Binary | Choice | Call | ListOf | MapOf

_TOKEN = re.compile(
    r"""
      (?P<space>\s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<number>0[xX][0-9a-fA-F_]+ | \d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)? )
    | (?P<string>'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*` )
    | (?P<name>[A-Za-z_$][\w$]* )
    | (?P<op>\?\. | \?\? | \.\. | \*\* | && | \|\| | == | != | <= | >= | [-+*/%^<>!?:.,()\[\]{}\#|] )
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset({"and", "or", "not", "in", "matches", "contains", "startsWith", "endsWith"})
_BINARY = {
    "or": 10, "||": 10, "and": 15, "&&": 15, "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20, "in": 20,
    "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20, "..": 25, "+": 30, "-": 30, "*": 60, "/": 60,
    "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
_COMPARISONS = frozenset({"<", ">", "<=", ">="})
_NEGATED = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "nil": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "0": "\0"}


def parse(text: str) -> Node:
    """Read an expression.

    Raises:
        ExpressionError: it is none, or uses what is not supported here.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression has {len(text)} characters, the sandbox takes {LONGEST}")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._tokens = self._scan(text)

    def _scan(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ExpressionError(f"unrecognized character {text[at]!r} in '{text}'")
            at = match.end()
            word = match.group()
            if match.lastgroup == "name" and word in _WORDS:
                tokens.append(("op", word))
            elif match.lastgroup != "space":
                tokens.append((match.lastgroup, word))
        return [*tokens, ("end", "")]

    def _fail(self) -> ExpressionError:
        kind, word = self._tokens[self._at]
        return ExpressionError(f"unexpected {f'token {word}' if kind != 'end' else 'end'} in '{self._text}'")

    def _peek(self, *words: str) -> bool:
        kind, word = self._tokens[self._at]
        return kind == "op" and word in words

    def _take(self, *words: str) -> bool:
        if self._peek(*words):
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._fail()

    def whole(self) -> Node:
        node = self._expression(0)
        if self._tokens[self._at][0] != "end":
            raise self._fail()
        return node

    def _expression(self, weakest: int) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError("the expression is nested too deeply")
        node = self._operand()
        before = ""
        while True:
            negated = self._peek("not")
            if negated:
                self._at += 1
                if not self._peek(*_NEGATED):
                    raise self._fail()
            operator = self._tokens[self._at][1] if self._tokens[self._at][0] == "op" else ""
            strength = _BINARY.get(operator)
            if strength is None or strength < weakest:
                if negated:
                    raise self._fail()
                break
            if before == "??" and operator != "??":
                raise ExpressionError(f"Operator (??) and others cannot be mixed: use parentheses in '{self._text}'")
            before = operator
            self._at += 1
            right = self._expression(strength if operator in {"**", "^"} else strength + 1)
            if operator in _COMPARISONS and self._peek(*_COMPARISONS):
                raise ExpressionError(f"chained comparisons are not supported by the sandbox: '{self._text}'")
            node = Binary(operator, node, right)
            node = Unary("not", node) if negated else node
        if weakest == 0 and self._take("?"):
            yes = self._expression(0)
            self._expect(":")
            node = Choice(node, yes, self._expression(0))
        self._depth -= 1
        return node

    def _operand(self) -> Node:
        kind, word = self._tokens[self._at]
        if kind == "op" and word in _UNARY:
            self._at += 1
            return self._members(Unary(word, self._expression(_UNARY[word])))
        return self._members(self._primary())

    def _primary(self) -> Node:  # noqa: PLR0911 - one for each kind of operand
        kind, word = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return Literal(_number(word))
        if kind == "string":
            return Literal(_string(word))
        if kind == "name":
            if word in _CONSTANTS:
                return Literal(_CONSTANTS[word])
            return Call(word, self._arguments(closures=word in CLOSURES)) if self._take("(") else Name(word)
        if word == "#" and kind == "op":
            return Name("#")
        if word == "(" and kind == "op":
            node = self._expression(0)
            self._expect(")")
            return node
        if word == "[" and kind == "op":
            return ListOf(self._items("]"))
        if word == "{" and kind == "op":
            return self._map()
        self._at -= 1
        raise self._fail()

    def _arguments(self, *, closures: bool) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._take(")"):
            if closures and items and self._take("{"):
                items.append(self._expression(0))
                self._expect("}")
            else:
                items.append(self._expression(0))
            if not self._peek(")"):
                self._expect(",")
        return tuple(items)

    def _items(self, closing: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._take(closing):
            items.append(self._expression(0))
            if not self._peek(closing):
                self._expect(",")
        return tuple(items)

    def _map(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._take("}"):
            kind, word = self._tokens[self._at]
            if kind == "name":
                self._at += 1
                key: Node = Literal(word)
            else:
                key = self._primary()
            self._expect(":")
            entries.append((key, self._expression(0)))
            if not self._peek("}"):
                self._expect(",")
        return MapOf(tuple(entries))

    def _members(self, node: Node) -> Node:
        while True:
            optional = self._peek("?.")
            if self._take(".", "?."):
                if optional and self._take("["):
                    node = self._index(node, optional=True)
                    continue
                kind, word = self._tokens[self._at]
                if kind != "name" and word not in _WORDS:
                    raise self._fail()
                self._at += 1
                if self._take("("):
                    if not isinstance(node, Name):
                        raise ExpressionError(f"the method '{word}' is not supported by the sandbox")
                    node = Call(f"{node.name}.{word}", self._arguments(closures=False))
                else:
                    node = Member(node, Literal(word), optional)
            elif self._take("["):
                node = self._index(node, optional=False)
            else:
                return node

    def _index(self, node: Node, *, optional: bool) -> Node:
        key = self._expression(0)
        if self._peek(":"):
            raise ExpressionError(f"slices are not supported by the sandbox: '{self._text}'")
        self._expect("]")
        return Member(node, key, optional)


def _number(word: str) -> int | float:
    plain = word.replace("_", "")
    if plain[:2].lower() == "0x":
        return int(plain, 16)
    return int(plain) if plain.isdigit() else float(plain)


def _string(word: str) -> str:
    if word[0] == "`":
        return word[1:-1]

    def one(match: re.Match[str]) -> str:
        if match.group(1):
            return chr(int(match.group(1), 16))
        if match.group(2) not in _ESCAPES:
            raise ExpressionError(f"invalid escape \\{match.group(2)} in {word}")
        return _ESCAPES[match.group(2)]

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, word[1:-1], flags=re.DOTALL)
