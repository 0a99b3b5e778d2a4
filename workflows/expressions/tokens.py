"""Words of a CEL expression, as far as finding names and operands needs them.

This is no parser: what is not CEL is left to the library to refuse. String literals and comments are recognised in
all their forms, so that nothing inside them is taken for a name.
Source: the CEL language definition, section Syntax (github.com/google/cel-spec, doc/langdef.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    NAME = auto()
    STRING = auto()
    NUMBER = auto()
    OPERATOR = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A word and where it is.

    Attributes:
        start: offset of its first character, in code points.
        end: offset after its last character.
    """

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n\f]+ | //[^\n]*)
    | (?P<string>
          (?:[rR][bB]?|[bB][rR]) (?: '{3}.*?'{3} | \"{3}.*?\"{3} | '[^'\n]*' | \"[^\"\n]*\" )
        | [bB]? (?: '{3}(?:\\.|.)*?'{3} | \"{3}(?:\\.|.)*?\"{3} | '(?:\\.|[^'\\\n])*' | \"(?:\\.|[^\"\\\n])*\" )
      )
    | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ | \d+[uU]? )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* | `[^`\n]*` )
    | (?P<operator> && | \|\| | == | != | <= | >= | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {"string": Kind.STRING, "number": Kind.NUMBER, "name": Kind.NAME, "operator": Kind.OPERATOR}


def tokenize(expression: str) -> list[Token]:
    """All words in order; a character that starts no word becomes an operator of its own."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(expression):
        group = match.lastgroup
        if group is not None and group != "space":
            tokens.append(Token(_KINDS[group], match.group(), match.start(), match.end()))
    return tokens


MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})


def macro_nesting(tokens: list[Token]) -> tuple[int, int]:
    """How many comprehension macros there are, and how deep they stand inside one another."""
    count = deepest = 0
    brackets: list[bool] = []  # for each open bracket: does a macro's body begin with it
    for i, token in enumerate(tokens):
        if token.text in "([{" and token.kind is Kind.OPERATOR:
            is_macro = (
                token.text == "("
                and i >= 2
                and tokens[i - 1].kind is Kind.NAME
                and tokens[i - 1].text in MACROS
                and tokens[i - 2].text == "."
            )
            brackets.append(is_macro)
            count += is_macro
            deepest = max(deepest, sum(brackets))
        elif token.text in ")]}" and token.kind is Kind.OPERATOR and brackets:
            brackets.pop()
    return count, deepest
