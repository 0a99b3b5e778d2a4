"""Expressions of govaluate, which sensors' `exprs` are, as CEL.

Source: https://github.com/Knetic/govaluate/blob/master/MANUAL.md. Comparisons, logic, `in`, regular expressions and
`?:` are carried over. Arithmetic is not: govaluate's numbers are all floating point, and CEL's integers divide as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from meta.importing.paths import NotCarried, cel_string

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    | (?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
    | (?P<bracketed>\[(?:\\.|[^\]\\])+\])
    | (?P<word>[A-Za-z_](?:[A-Za-z0-9_]|\\.)*)
    | (?P<operator>&&|\|\||==|!=|<=|>=|=~|!~|\?\?|\*\*|<<|>>|[-+*/%^&|~!<>?:(),.])
    )""",
    re.VERBOSE,
)
_KEPT = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "!", "(", ")", ",", "?", ":"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def to_cel(expression: str, fields: Mapping[str, str]) -> str:
    """Translate an expression.

    Args:
        expression: as the sensor has it.
        fields: CEL for every name that it may use.

    Raises:
        NotCarried: it has something that is not carried over; the text names it.
    """
    tokens = _tokens(expression)
    out: list[str] = []
    lists: list[bool] = []  # for each open bracket: whether it is the list of an `in`
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "operator" and token.text in ("=~", "!~"):
            at = _pattern(out, tokens, at)
            continue
        if token.kind == "operator":
            _operator(out, lists, token.text, expression)
        elif token.kind == "word" and token.text == "in":
            out.append("in")
        else:
            out.append(_operand(token, fields, expression))
        at += 1
    return _joined(out)


def _tokens(expression: str) -> list[_Token]:
    found, at = list[_Token](), 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise NotCarried(f"'{expression}' has '{text[at:].strip()[:10]}', which cannot be read")
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _operand(token: _Token, fields: Mapping[str, str], expression: str) -> str:
    if token.kind == "number":
        return str(int(token.text, 16)) if token.text.startswith("0x") else token.text
    if token.kind == "string":
        return cel_string(re.sub(r"\\(.)", r"\1", token.text[1:-1]))
    name = token.text[1:-1] if token.kind == "bracketed" else token.text
    name = re.sub(r"\\(.)", r"\1", name)
    if token.kind == "word" and name in ("true", "false"):
        return name
    if name not in fields:
        raise NotCarried(f"'{expression}' reads '{name}', which is none of its fields")
    return fields[name]


def _operator(out: list[str], lists: list[bool], operator: str, expression: str) -> None:
    """Put down an operator; the round brackets after `in` become a list."""
    if operator == "-" and (not out or out[-1] in (*(_KEPT - {")"}), "in", "[")):
        out.append("-")
        return
    if operator not in _KEPT:
        raise NotCarried(f"'{expression}' has the operator '{operator}', which is not carried over")
    if operator == "(":
        lists.append(bool(out) and out[-1] == "in")
        out.append("[" if lists[-1] else "(")
    elif operator == ")":
        out.append("]" if lists and lists.pop() else ")")
    else:
        out.append(operator)


def _pattern(out: list[str], tokens: list[_Token], at: int) -> int:
    """`field =~ 'pattern'`: the text of the operand before, matched."""
    after = tokens[at + 1] if at + 1 < len(tokens) else _Token("", "")
    if after.kind != "string" or not out or out[-1] in (*_KEPT, "in", "]"):
        raise NotCarried(f"'{tokens[at].text}' stands between something other than a field and a text")
    pattern = cel_string(re.sub(r"\\(['\"])", r"\1", after.text[1:-1]))
    negated = "!" if tokens[at].text == "!~" else ""
    out[-1] = f"{negated}string({out[-1]}).matches({pattern})"
    return at + 2


def _joined(out: list[str]) -> str:
    text = ""
    for before, token in zip(["", *out], out, strict=False):
        tight = before in ("", "(", "[", "!", "-") or token in (")", "]", ",")
        text += token if tight else f" {token}"
    return text
