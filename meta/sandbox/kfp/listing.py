"""Lists as the real server makes them: `filter`, `sort_by`, `page_size` and `page_token`.

Source: kubeflow/pipelines, backend/src/apiserver/{filter,list}. The keys are the API's names; times are compared in
whole seconds; an unknown key is an error that names it.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import invalid_input

DEFAULT_PAGE, LARGEST_PAGE = 20, 200
_COMPARISONS: Mapping[str, str] = {
    "EQUALS": "=",
    "NOT_EQUALS": "!=",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}
# protojson also takes an enum by its number (filter.proto)
_NUMBERS: Mapping[int, str] = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_SINGLE = ("int_value", "long_value", "string_value", "timestamp_value")
_MANY = ("int_values", "long_values", "string_values")


@dataclass(frozen=True, slots=True)
class Listing:
    """What can be listed.

    Attributes:
        table: its table.
        keys: the API's name of a field -> column.
    """

    table: str
    keys: Mapping[str, str]


RUNS = Listing(
    "runs",
    {
        "run_id": "id", "display_name": "display_name", "created_at": "created_at", "finished_at": "finished_at",
        "scheduled_at": "scheduled_at", "description": "description", "storage_state": "storage_state",
        "experiment_id": "experiment_id", "state": "state",
    },
)  # fmt: skip
PIPELINES = Listing(
    "pipelines",
    {
        "pipeline_id": "id", "name": "name", "display_name": "display_name", "created_at": "created_at",
        "description": "description",
    },
)  # fmt: skip
VERSIONS = Listing(
    "versions",
    {
        "pipeline_version_id": "id", "name": "name", "display_name": "display_name", "created_at": "created_at",
        "description": "description",
    },
)  # fmt: skip
EXPERIMENTS = Listing(
    "experiments",
    {
        "experiment_id": "id", "display_name": "display_name", "name": "display_name", "created_at": "created_at",
        "last_run_created_at": "last_run_created_at", "description": "description", "storage_state": "storage_state",
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: rows, the token of the next one (empty at the end), and how many there are in all."""

    rows: list[sqlite3.Row]
    next_page_token: str
    total_size: int


def list_page(
    database: Database, listing: Listing, query: Mapping[str, str], fixed: Mapping[str, str] | None = None
) -> Page:
    """Answer a list call.

    Args:
        database: where the rows are.
        listing: what is listed.
        query: the query string: filter, sort_by, page_size, page_token.
        fixed: columns that must have a value, from the path or another parameter.

    Raises:
        ApiError: a parameter is not valid; the message says which.
    """
    size = _page_size(query.get("page_size", ""))
    token = _read_token(query.get("page_token", ""))
    # a token carries its query: the server takes the rest of a list from the token alone
    sort_by, filter_text = (
        (token["sort_by"], token["filter"]) if token else (query.get("sort_by", ""), query.get("filter", ""))
    )
    column, descending = _sorting(listing, sort_by)
    where, arguments = _filter(listing, filter_text)
    for name, value in (fixed or {}).items():
        where.append(f"{name} = ?")
        arguments.append(value)
    counted = database.row(f"SELECT count(*) AS n FROM {listing.table} {_where(where)}", *arguments)
    total = int(counted["n"]) if counted else 0
    if token:
        sign = "<" if descending else ">"
        where.append(f"({column} {sign} ? OR ({column} = ? AND id {sign}= ?))")
        arguments += [token["value"], token["value"], token["id"]]
    order = "DESC" if descending else "ASC"
    sql = f"SELECT * FROM {listing.table} {_where(where)} ORDER BY {column} {order}, id {order} LIMIT ?"
    rows = database.rows(sql, *arguments, size + 1)
    following = ""
    if len(rows) > size:
        last = rows[size]
        content = {"sort_by": sort_by, "filter": filter_text, "value": last[column], "id": last["id"]}
        following = base64.b64encode(json.dumps(content).encode()).decode()
    return Page(rows[:size], following, total)


def _where(clauses: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(clauses)}" if clauses else ""


def _page_size(text: str) -> int:
    try:
        size = int(text or "0")
    except ValueError as error:
        raise invalid_input(f'parsing field "page_size": strconv.ParseInt: parsing "{text}": invalid syntax') from error
    if size < 0:
        raise invalid_input(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE, LARGEST_PAGE)


def _read_token(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        token: object = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise invalid_input(f"Invalid page token: {error}") from error
    if not isinstance(token, dict) or set(cast("dict[str, Any]", token)) != {"sort_by", "filter", "value", "id"}:
        raise invalid_input("Invalid page token: it was not made by this list")
    return cast("dict[str, Any]", token)


def _sorting(listing: Listing, sort_by: str) -> tuple[str, bool]:
    words = sort_by.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise invalid_input(
            f'Received invalid sort by format "{sort_by}". Supported format: "field_name", "field_name desc", or '
            '"field_name asc"'
        )
    if not words:
        return "created_at", False
    if words[0] not in listing.keys:
        raise invalid_input(f'Invalid sorting field: "{words[0]}" on listable type {listing.table}')
    return listing.keys[words[0]], len(words) == 2 and words[1] == "desc"


def _filter(listing: Listing, text: str) -> tuple[list[str], list[object]]:
    if not text:
        return [], []
    try:
        document: object = json.loads(text)
    except ValueError as error:
        raise invalid_input(f'failed to parse valid filter from "{text}": {error}') from error
    if not isinstance(document, dict):
        raise invalid_input(f'failed to parse valid filter from "{text}": not an object')
    content = cast("dict[str, Any]", document)
    for key in content:
        if key != "predicates":
            raise invalid_input(f'failed to parse valid filter from "{text}": unknown field "{key}"')
    clauses: list[str] = []
    arguments: list[object] = []
    for predicate in cast("list[dict[str, Any]]", content.get("predicates", [])):
        clause, values = _predicate(listing, predicate, text)
        clauses.append(clause)
        arguments += values
    return clauses, arguments


def _predicate(listing: Listing, given_predicate: Mapping[str, Any], text: str) -> tuple[str, list[object]]:
    # protojson takes stringValue as well as string_value; kfp.Client writes the first, people the second
    predicate = {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", key): value for key, value in given_predicate.items()}
    for field in predicate:
        if field not in ("operation", "key", *_SINGLE, *_MANY):
            raise invalid_input(f'failed to parse valid filter from "{text}": unknown field "{field}"')
    key = str(predicate.get("key", ""))
    if key not in listing.keys:
        raise invalid_input(f'no support for filtering on unrecognized field "{key}"')
    column = listing.keys[key]
    given = predicate.get("operation", "")
    operation = _NUMBERS.get(given, "") if isinstance(given, int) else str(given)
    many = [name for name in _MANY if name in predicate]
    single = [name for name in _SINGLE if name in predicate]
    if operation == "IN":
        if not many:
            raise invalid_input(f"cannot use value of predicate on {key} with operator IN: give int_values or the like")
        values = cast("list[object]", predicate[many[0]].get("values", []))
        return f"{column} IN ({', '.join('?' for _ in values)})", [_value(many[0], value) for value in values]
    if not single or many:
        raise invalid_input(f"invalid predicate on {key}: operation {operation or 'unspecified'} takes one value")
    value = _value(single[0], predicate[single[0]])
    if operation in _COMPARISONS:
        return f"{column} {_COMPARISONS[operation]} ?", [value]
    if operation == "IS_SUBSTRING":
        if single[0] != "string_value":
            raise invalid_input(f"cannot use non string value type with operator IS_SUBSTRING on {key}")
        escaped = str(value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return f"{column} LIKE ? ESCAPE '\\'", [f"%{escaped}%"]
    raise invalid_input(f"invalid predicate operation: {given or 'OPERATION_UNSPECIFIED'}")


def _value(kind: str, value: object) -> object:
    if kind.startswith(("int", "long")):
        try:
            return int(str(value))
        except ValueError as error:
            raise invalid_input(f"invalid {kind} in a filter: {value}") from error
    if kind == "timestamp_value":
        try:
            parsed = datetime.datetime.fromisoformat(str(value))
        except ValueError as error:
            raise invalid_input(f"invalid timestamp_value in a filter: {value}") from error
        return int(parsed.timestamp())  # the database has whole seconds
    return str(value)
