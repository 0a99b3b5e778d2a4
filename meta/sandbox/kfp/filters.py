"""The `filter` of a list call: a JSON document of predicates (filter.proto), as SQL.

Source: kubeflow/pipelines, backend/src/apiserver/{filter/filter.go,server/list_request_util.go}, with its messages.
Times are compared in whole seconds. `%` and `_` in the value of IS_SUBSTRING are wildcards, as there.
"""

from __future__ import annotations

import datetime
import math
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError

from meta.sandbox.kfp.errors import invalid_input
from meta.sandbox.kfp.requests import Body, first_slip

_COMPARISONS: Mapping[str, str] = {
    "EQUALS": "=",
    "NOT_EQUALS": "!=",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}
# the enum's numbers in filter.proto: protojson takes an enum by its number too
_OPERATIONS = {
    0: "OPERATION_UNSPECIFIED", 1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN", 7: "LESS_THAN_EQUALS", 8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_NO_ESCAPE = re.compile("%(?![0-9a-fA-F]{2}).{0,2}")
_GO_TYPES = {"int_value": "int32", "long_value": "int64", "timestamp_value": "int64", "string_value": "string"}


def _operation(value: object) -> object:
    name = _OPERATIONS.get(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if name not in _OPERATIONS.values():
        raise ValueError(f'invalid value for enum field operation: "{value}"')
    return name


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a boolean is no number")
    return value


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time is a string, as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f'invalid google.protobuf.Timestamp value "{value}"') from error
    if moment.tzinfo is None:
        raise ValueError(f'invalid google.protobuf.Timestamp value "{value}": it has no time zone')
    return math.floor(moment.timestamp())


Int32 = Annotated[int, BeforeValidator(_number), Field(ge=-(2**31), lt=2**31)]
Int64 = Annotated[int, BeforeValidator(_number), Field(ge=-(2**63), lt=2**63)]
Operation = Literal[
    "OPERATION_UNSPECIFIED", "EQUALS", "NOT_EQUALS", "GREATER_THAN", "GREATER_THAN_EQUALS", "LESS_THAN",
    "LESS_THAN_EQUALS", "IN", "IS_SUBSTRING",
]  # fmt: skip


class _IntValues(Body):
    values: list[Int32] = Field(default_factory=list[Int32])


class _LongValues(Body):
    values: list[Int64] = Field(default_factory=list[Int64])


class _StringValues(Body):
    values: list[str] = Field(default_factory=list[str])


class Predicate(Body):
    """One condition; exactly one of its values is given."""

    operation: Annotated[Operation, BeforeValidator(_operation)] = "OPERATION_UNSPECIFIED"
    key: str = ""
    int_value: Int32 | None = None
    long_value: Int64 | None = None
    string_value: str | None = None
    timestamp_value: Annotated[Int64, BeforeValidator(_seconds)] | None = None
    int_values: _IntValues | None = None
    long_values: _LongValues | None = None
    string_values: _StringValues | None = None


class _Filter(Body):
    predicates: list[Predicate] = Field(default_factory=list[Predicate])


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition in SQL.

    Attributes:
        key: the API's name of the field.
        operation: by its name.
        sql: with a place `{column}` for the field's column.
        values: its arguments.
        survives: whether it equals itself after the trip through a page token. The real server keeps the token as JSON,
            where every number is a float and every list one of anything, and then compares with types.
    """

    key: str
    operation: Operation
    sql: str
    values: tuple[int | str, ...]
    survives: bool


def parse_filter(text: str) -> tuple[Clause, ...]:
    """Read a filter.

    Raises:
        ApiError: it is not valid; the message is the real server's.
    """
    if not text:
        return ()
    # The real server decodes it once more than HTTP does: a + in it is a space, and a % begins an escape.
    if broken := _NO_ESCAPE.search(text):
        raise invalid_input(f'failed to parse valid filter from "{text}": invalid URL escape "{broken[0]}"')
    decoded = urllib.parse.unquote_plus(text)
    try:
        predicates = _Filter.model_validate_json(decoded).predicates
    except ValidationError as error:
        raise invalid_input(f'failed to parse valid filter from "{text}": proto: {first_slip(error)}') from error
    return tuple(_clause(predicate) for predicate in predicates)


def _clause(predicate: Predicate) -> Clause:
    given = predicate.model_dump(exclude_none=True, exclude={"operation", "key"})
    if len(given) > 1:
        raise invalid_input(f"failed to parse valid filter: proto: oneof value is already set: {', '.join(given)}")
    if predicate.operation == "OPERATION_UNSPECIFIED":
        raise invalid_input("Error using Filter.Predicate.Operation with go_client.Predicate_Operation")
    if not given:
        raise invalid_input("Error using Filter.Predicate.Value with <nil>")
    kind, value = next(iter(given.items()))
    if not predicate.key:
        raise invalid_input(f"Predicate key cannot be empty for operation {predicate.operation} and value {value}")
    build = _BUILDERS.get(predicate.operation, _comparison)
    values: tuple[int | str, ...] = tuple(value["values"]) if kind.endswith("values") else (value,)
    sql = build(predicate.operation, kind, values)
    return Clause(predicate.key, predicate.operation, sql, values, kind == "string_value")


def _go_type(kind: str) -> str:
    return _GO_TYPES.get(kind, f"[]{_GO_TYPES.get(kind.removesuffix('s'), '')}")


def _comparison(operation: str, kind: str, values: tuple[int | str, ...]) -> str:
    if kind.endswith("values"):
        raise invalid_input(f"cannot use scalar operator {operation} on array type {_go_type(kind)}")
    return f"{{column}} {_COMPARISONS[operation]} ?"


def _in(operation: str, kind: str, values: tuple[int | str, ...]) -> str:
    if not kind.endswith("values"):
        raise invalid_input(f"cannot use IN operator with scalar type {_go_type(kind)}")
    return f"{{column}} IN ({', '.join('?' for _ in values)})"


def _substring(operation: str, kind: str, values: tuple[int | str, ...]) -> str:
    if kind != "string_value":
        raise invalid_input(f"cannot use non string value type {_go_type(kind)} with operator {operation}")
    return "{column} LIKE '%' || ? || '%' ESCAPE '\\'"


_BUILDERS: Mapping[str, Callable[[str, str, tuple[int | str, ...]], str]] = {"IN": _in, "IS_SUBSTRING": _substring}
