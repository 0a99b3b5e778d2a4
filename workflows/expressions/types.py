"""Types of expressions: what is declared, what the checker finds, and the words for them."""

from __future__ import annotations

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


def of_declared(declared: ValueType) -> ExprType:
    return _DECLARED[declared]


def of_word(word: str) -> ExprType:
    """The type that the library names so: `double`, `list(int)`, `MAP<STRING, DYN>`."""
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


def fits(found: ExprType, wanted: ValueType) -> bool:
    """Whether a value of the found type may stand where `wanted` is declared; unknown types may."""
    target = of_declared(wanted)
    return found in (target, ExprType.ANY) or (found is ExprType.INTEGER and target is ExprType.NUMBER)
