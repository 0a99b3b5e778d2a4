"""Types of expressions: what is declared, what the checker finds, and the words for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from workflows.values import JsonValue, ValueType


class ExprType(StrEnum):
    """The types that matter here; `ANY` is known at run time only, `OTHER` has no place in JSON."""

    NUMBER = "a number"
    INTEGER = "an integer"
    STRING = "a string"
    BOOLEAN = "true or false"
    LIST = "a list"
    OBJECT = "an object"
    NUMBERS = "a list of numbers"
    INTEGERS = "a list of integers"
    STRINGS = "a list of strings"
    BOOLEANS = "a list of booleans"
    LISTS = "a list of lists"
    OBJECTS = "a list of objects"
    NULL = "null"
    ANY = "any value"
    OTHER = "a value that JSON does not have"


_DECLARED = {
    ValueType.STRING: ExprType.STRING,
    ValueType.INTEGER: ExprType.INTEGER,
    ValueType.NUMBER: ExprType.NUMBER,
    ValueType.BOOLEAN: ExprType.BOOLEAN,
    ValueType.LIST: ExprType.LIST,
    ValueType.OBJECT: ExprType.OBJECT,
}

# Words of the checker, of the runtime, and of the library's Type, each in its own spelling.
_WORDS = {
    "double": ExprType.NUMBER,
    "int": ExprType.INTEGER,
    "int64": ExprType.INTEGER,
    "uint": ExprType.INTEGER,
    "uint64": ExprType.INTEGER,
    "string": ExprType.STRING,
    "bool": ExprType.BOOLEAN,
    "list": ExprType.LIST,
    "map": ExprType.OBJECT,
    "null": ExprType.NULL,
    "null_type": ExprType.NULL,
    "dyn": ExprType.ANY,
    "any": ExprType.ANY,
    "*error*": ExprType.ANY,
}


_LISTS = {
    ExprType.NUMBER: ExprType.NUMBERS,
    ExprType.INTEGER: ExprType.INTEGERS,
    ExprType.STRING: ExprType.STRINGS,
    ExprType.BOOLEAN: ExprType.BOOLEANS,
    ExprType.LIST: ExprType.LISTS,
    ExprType.OBJECT: ExprType.OBJECTS,
}
_ELEMENTS = {of: element for element, of in _LISTS.items()}
_LIST_WORD = re.compile(r"list[(<](.*)[)>]", re.IGNORECASE | re.DOTALL)


def list_of(element: ExprType) -> ExprType:
    """A list whose elements are of that type; of a list of lists no more is known than that."""
    return ExprType.LISTS if is_list(element) else _LISTS.get(element, ExprType.LIST)


def element_of(found: ExprType) -> ExprType:
    """The type of a list's elements; `ANY` where it is not known."""
    return _ELEMENTS.get(found, ExprType.ANY)


def is_list(found: ExprType) -> bool:
    return found is ExprType.LIST or found in _ELEMENTS


def common(types: Iterable[ExprType]) -> ExprType:
    """The one type that all are of, integers beside numbers being numbers; `ANY` when there is none."""
    found = set(types)
    if found == {ExprType.NUMBER, ExprType.INTEGER}:
        return ExprType.NUMBER
    return found.pop() if len(found) == 1 else ExprType.ANY


def of_declared(declared: ValueType) -> ExprType:
    return _DECLARED[declared]


def of_word(word: str) -> ExprType:
    """The type that the library names so: `double`, `list(int)`, `MAP<STRING, DYN>`."""
    if match := _LIST_WORD.fullmatch(word.strip()):
        return list_of(of_word(match.group(1)))
    return _WORDS.get(word.strip().split("(")[0].split("<")[0].lower(), ExprType.OTHER)


def of_value(value: JsonValue) -> ExprType:
    if value is None:
        return ExprType.NULL
    if isinstance(value, bool):
        return ExprType.BOOLEAN
    if isinstance(value, int):
        return ExprType.INTEGER
    if isinstance(value, float):
        return ExprType.NUMBER
    if isinstance(value, str):
        return ExprType.STRING
    return ExprType.LIST if isinstance(value, list) else ExprType.OBJECT


def of_items(values: list[JsonValue]) -> ExprType:
    """The type of a list whose elements are known to be of one: lists that a fan-out gathers."""
    elements = {of_value(value) for value in values}
    return list_of(elements.pop()) if len(elements) == 1 else ExprType.LIST


def fits(found: ExprType, wanted: ValueType) -> bool:
    """Whether a value of the found type may stand where `wanted` is declared; unknown types may."""
    target = of_declared(wanted)
    if target is ExprType.LIST and is_list(found):
        return True
    return found in (target, ExprType.ANY) or (found is ExprType.INTEGER and target is ExprType.NUMBER)
