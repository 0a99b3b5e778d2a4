"""The library's error reports in the user's words."""

from __future__ import annotations

import re

from workflows.expressions.types import ExprType, of_word

_OVERLOAD = re.compile(r"found no matching overload for '([^']+)' applied to '(?:(.*)\.)?\((.*)\)'")
_RUNTIME_OVERLOAD = re.compile(r"No matching overloads found : ([^(]+)(?:\((.*)\))?")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_SELECT = re.compile(r"expression of type '([^']+)' cannot be the operand of a select operation")
_RANGE = re.compile(r"expression of type '([^']+)' cannot be the range of a comprehension")
_UNEXPECTED = re.compile(r"(?:extraneous|mismatched) input '(.*?)' expecting|no viable alternative at input '(.*?)'")
_TOKEN = re.compile(r"token recognition error at: '(.*)'", re.DOTALL)
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_NUMBERS = (ExprType.NUMBER, ExprType.INTEGER)


def in_words(raw: str, *, is_call: bool) -> tuple[str, str]:  # noqa: PLR0911 - one for each kind of report
    """Message and hint for a report of the parser or the checker.

    Args:
        raw: the library's words.
        is_call: the place is a call's, so an unknown name is a function's.
    """
    if match := _OVERLOAD.search(raw):
        return _overload(match.group(1), _split(match.group(3)))
    if match := _UNDECLARED.search(raw):
        name = match.group(1)
        if is_call:
            return f"there is no function '{name}'", ""
        return f"there is no name '{name}'", "expressions read inputs.<name>, steps.<step>... and run.<field>"
    if match := _SELECT.search(raw):
        return f"{of_word(match.group(1))} has no fields", ""
    if match := _RANGE.search(raw):
        return f"{of_word(match.group(1))} is nothing that map, filter, all or exists could go over", "they take a list"
    if "recursion" in raw:
        return "the expression is nested too deeply (32 levels at most)", "take parts of it out into steps or inputs"
    if "Syntax error" in raw:
        return _syntax(raw)
    return _STATUS.sub("", raw), ""


def runtime_words(raw: str) -> tuple[str, str]:  # noqa: PLR0911 - one for each kind of report
    """Message and hint for a failed evaluation."""
    if match := _RUNTIME_OVERLOAD.search(raw):
        name, operands = match.group(1), match.group(2)
        if operands is not None:
            return _overload(name, _split(operands))
        condition = "jump_condition" in name
        return ("the condition of '?:'" if condition else f"an operand of {_operator(name)}") + " is no boolean", ""
    if match := re.search(r'Key not found in map : "?(.*?)"?$', raw):
        return f"there is no key '{match.group(1)}'", "has(x.key) tells whether there is one"
    if match := re.search(r"Index error: index=(-?\d+) size=(\d+)", raw):
        return f"index {match.group(1)} of a list of {match.group(2)}", ""
    if "Iteration budget" in raw:
        return "it goes over too many items", "work on large lists in a step"
    if "SELECT to non-message" in raw:
        return "a field is read from something that is no object", ""
    return _STATUS.sub("", raw), ""


def _syntax(raw: str) -> tuple[str, str]:
    if "'<EOF>'" in raw.split("expecting", maxsplit=1)[0]:
        return "the expression ends too early", ""
    if match := _TOKEN.search(raw):
        word = match.group(1).strip()
        return f"unexpected {word!r}", {"=": "write == to compare", "&": "write &&", "|": "write ||"}.get(word, "")
    if match := _UNEXPECTED.search(raw):
        return f"unexpected {match.group(1) or match.group(2)!r}", ""
    return re.sub(r"^.*?Syntax error: ", "syntax error: ", raw.split(" expecting", maxsplit=1)[0]), ""


def _overload(name: str, operands: list[str]) -> tuple[str, str]:
    types = [of_word(word) for word in operands]
    hint = ""
    if name == "_?_:_":
        if len(types) == 3 and types[0] not in (ExprType.BOOLEAN, ExprType.ANY):
            return f"the condition of '?:' is {types[0]}, not true or false", ""
        return f"the branches of '?:' differ: {' and '.join(types[1:])}", "give both one type; dyn(x) takes any"
    if len(types) == 2 and set(types) == set(_NUMBERS):
        hint = "write double(x) around the integer"
    elif ExprType.NULL in types:
        hint = "only an input that may be null can be compared with it"
    elif len(types) == 2 and ExprType.STRING in types and name in ("_+_", "add"):
        hint = "write string(x) around the other"
    elif name in ("@in", "in") and types and types[0] in _NUMBERS:
        hint = "write the list's items as numbers of the same kind, 1.0 for a number, 1 for an integer"
    return f"{_operator(name)} cannot be applied to {' and '.join(types) or 'nothing'}", hint


def _operator(name: str) -> str:
    return f"'{name.replace('_', '').replace('@', '') if re.search(r'[^a-z0-9_]', name) else name}'"


def _split(operands: str) -> list[str]:
    """Operand types at the top level: `double, list(int)` is two."""
    words, depth, word = list[str](), 0, ""
    for character in operands:
        depth += (character in "(<") - (character in ")>")
        if character == "," and depth == 0:
            words.append(word)
            word = ""
        else:
            word += character
    return [w for w in (*words, word) if w.strip()]
