"""Paths of gjson, by which sensors read events, as CEL over `event`.

Source: https://github.com/tidwall/gjson/blob/master/SYNTAX.md. Keys and positions in lists are carried over; wildcards,
queries (`#`), modifiers (`@`), literals (`!`), pipes and multipaths are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL = set("*?#|")
_SPECIAL_FIRST = set("@!{[")
RESERVED = frozenset(
    "in true false null as break const continue else for function if import let loop package namespace return var"
    " void while".split()
)
"""Words that CEL keeps for itself: a field of such a name is read with brackets."""


class NotCarried(Exception):
    """Something that has no equal in a definition; the text says what, for people."""


@dataclass(frozen=True, slots=True)
class Read:
    """An expression that reads a message.

    Attributes:
        value: CEL for what is read.
        exists: CEL that is true when it is there; empty when it always is.
    """

    value: str
    exists: str = ""


def split_path(path: str) -> list[str]:
    r"""The keys of a path; `\` makes the next character an ordinary one.

    Raises:
        NotCarried: it has more than keys and positions.
    """
    parts, current, escaped, first = list[str](), "", False, True
    for char in path:
        if escaped:
            current, escaped, first = current + char, False, False
        elif char == "\\":
            escaped = True
        elif char == ".":
            parts.append(current)
            current, first = "", True
        elif char in _SPECIAL or (first and char in _SPECIAL_FIRST):
            raise NotCarried(f"the path '{path}' has '{char}', and only keys and positions can be carried over")
        else:
            current, first = current + char, False
    parts.append(current)
    if "" in parts:
        raise NotCarried(f"the path '{path}' has an empty key")
    return parts


def cel_string(text: str) -> str:
    """A string literal of CEL."""
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "'" + "".join(escapes.get(char, char) for char in text) + "'"


def read(base: str, keys: list[str]) -> Read:
    """Walk from an expression along keys; a key of digits alone is a position in a list."""
    value, checks = base, list[str]()
    for key in keys:
        if key.isdigit() and key.isascii():
            checks.append(f"size({value}) > {int(key)}")
            value = f"{value}[{int(key)}]"
        elif _PLAIN.fullmatch(key) and key not in RESERVED:
            checks.append(f"has({value}.{key})")
            value = f"{value}.{key}"
        else:
            checks.append(f"{cel_string(key)} in {value}")
            value = f"{value}[{cel_string(key)}]"
    return Read(value, " && ".join(checks))
