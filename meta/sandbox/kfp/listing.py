"""Lists as the real server makes them: `filter`, `sort_by`, `page_size` and `page_token`.

Source: kubeflow/pipelines, backend/src/apiserver/{list/list.go,model/*.go,server/list_request_util.go}. The keys are
the API's names; an unknown key is an error that names it.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, ValidationError

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import invalid_input
from meta.sandbox.kfp.filters import Clause, parse_filter

DEFAULT_PAGE, LARGEST_PAGE = 20, 200


@dataclass(frozen=True, slots=True)
class Listing:
    """What can be listed.

    Attributes:
        model: the real server's name of it, for messages.
        table: its table, which has a column `id`.
        keys: the API's name of a field -> column, or another expression.
        default: key that orders a list without `sort_by`.
        tagged: whether its table has tags, which are filtered by with keys as `tags.team`.
    """

    model: str
    table: str
    keys: Mapping[str, str]
    default: str = "created_at"
    tagged: bool = False


_NONE = "''"  # a column that a server for one user leaves empty
RUNS = Listing(
    "Run",
    "runs",
    {
        "run_id": "id", "id": "id", "display_name": "display_name", "name": "display_name", "created_at": "created_at",
        "finished_at": "finished_at", "description": "description", "scheduled_at": "scheduled_at",
        "storage_state": "storage_state", "experiment_id": "experiment_id", "state": "state",
        "state_history": "state_history", "namespace": _NONE, "recurring_run_id": _NONE, "runtime_details": _NONE,
        # v1beta1's word for the state
        "status": "CASE state WHEN 'SUCCEEDED' THEN 'Succeeded' WHEN 'FAILED' THEN 'Failed' WHEN 'RUNNING' THEN "
        "'Running' WHEN 'PENDING' THEN 'Pending' WHEN 'CANCELING' THEN 'Terminating' ELSE state END",
    },
)  # fmt: skip
PIPELINES = Listing(
    "Pipeline",
    "pipelines",
    {
        "pipeline_id": "id", "id": "id", "name": "name", "display_name": "display_name", "created_at": "created_at",
        "description": "description", "namespace": _NONE,
    },
    tagged=True,
)  # fmt: skip
VERSIONS = Listing(
    "PipelineVersion",
    "versions",
    {
        "pipeline_version_id": "id", "id": "id", "name": "name", "display_name": "display_name",
        "created_at": "created_at", "description": "description", "pipeline_spec": "document", "status": "'READY'",
    },
    tagged=True,
)  # fmt: skip
EXPERIMENTS = Listing(
    "Experiment",
    "experiments",
    {
        "experiment_id": "id", "id": "id", "display_name": "display_name", "name": "display_name",
        "created_at": "created_at", "last_run_created_at": "last_run_created_at", "description": "description",
        "storage_state": "storage_state", "namespace": _NONE,
    },
)  # fmt: skip


class _Token(BaseModel):
    """A page token: the query it continues, and the first row of the page."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    key: str
    descending: bool
    filter: str
    value: str | int | float
    id: str | int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: rows, the token of the next one (empty at the end), and how many there are in all."""

    rows: list[sqlite3.Row]
    next_page_token: str
    total_size: int


def list_page(
    database: Database,
    listing: Listing,
    query: Mapping[str, str],
    fixed: Mapping[str, Sequence[str | int]] | None = None,
) -> Page:
    """Answer a list call.

    Args:
        database: where the rows are.
        listing: what is listed.
        query: the query string: filter, sort_by, page_size, page_token.
        fixed: columns that must have one of some values, from the path or another parameter.

    Raises:
        ApiError: a parameter is not valid; the message says which.
    """
    size = _page_size(query.get("page_size", ""))
    sort_by, filter_text = query.get("sort_by", ""), query.get("filter", "")
    token = _read_token(listing, query.get("page_token", ""))
    if token is None:
        clauses = _clauses(listing, filter_text)
        key, descending = _sorting(listing, sort_by)
    else:  # the token carries its query; what is said again must be the same
        clauses = _clauses(listing, token.filter)
        key, descending = token.key, token.descending
        if sort_by or filter_text:
            _must_match(listing, token, clauses, sort_by, filter_text)
        filter_text = token.filter
    where = [clause.sql.format(column=listing.keys.get(clause.key)) for clause in clauses]
    arguments: list[object] = [value for clause in clauses for value in clause.values]
    for name, values in (fixed or {}).items():
        where.append(f"{name} IN ({', '.join('?' for _ in values)})")
        arguments += values
    counted = database.row(f"SELECT count(*) AS n FROM {listing.table} {_where(where)}", *arguments)
    total = int(counted["n"]) if counted else 0
    column = listing.keys[key]
    if token is not None:
        sign = "<" if descending else ">"
        where.append(f"({column} {sign} ? OR ({column} = ? AND id {sign}= ?))")
        arguments += [token.value, token.value, token.id]
    order = "DESC" if descending else "ASC"
    rows = database.rows(
        f"SELECT *, {column} AS sorted_by FROM {listing.table} {_where(where)} "
        f"ORDER BY {column} {order}, id {order} LIMIT ?",
        *arguments,
        size + 1,
    )
    following = ""
    if len(rows) > size:
        first = rows[size]
        following = _write_token(
            _Token(
                model=listing.model, key=key, descending=descending, filter=filter_text, value=first["sorted_by"],
                id=first["id"],
            )
        )  # fmt: skip
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


def _write_token(token: _Token) -> str:
    return base64.b64encode(token.model_dump_json().encode()).decode()


def _read_token(listing: Listing, text: str) -> _Token | None:
    if not text:
        return None
    try:
        token = _Token.model_validate_json(base64.b64decode(text, validate=True))
    except (binascii.Error, ValidationError) as error:
        raise invalid_input("Invalid page token") from error
    if token.model != listing.model or token.key not in listing.keys:  # the real server finds it in its SQL, as a 500
        raise invalid_input(f"Invalid page token: it is one of a list of {token.model}, not of {listing.model}")
    return token


def _must_match(listing: Listing, token: _Token, carried: Sequence[Clause], sort_by: str, filter_text: str) -> None:
    """Refuse a query that is not the token's.

    A filter on a number, a time or a list is never the token's, not even the very same one: see `Clause.survives`. So a
    client leaves filter and sort_by out when it gives a token.
    """
    key, descending = _sorting(listing, sort_by)
    given = _clauses(listing, filter_text)
    same_order = listing.keys[key] == listing.keys[token.key] and descending == token.descending
    if not same_order or set(given) != set(carried) or not all(clause.survives for clause in given):
        raise invalid_input(
            "page token does not match the supplied sort by and/or filtering criteria. Either specify the same "
            "criteria or leave the latter empty if page token is specified"
        )


def _sorting(listing: Listing, sort_by: str) -> tuple[str, bool]:
    words = sort_by.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise invalid_input(
            f'Received invalid sort by format "{sort_by}". Supported format: "field_name", "field_name desc", or '
            '"field_name asc"'
        )
    if not words:
        return listing.default, False
    if words[0] not in listing.keys:
        raise invalid_input(f'Invalid sorting field: "{words[0]}" on listable type {listing.model}')
    return words[0], len(words) == 2 and words[1] == "desc"


def _clauses(listing: Listing, text: str) -> tuple[Clause, ...]:
    return tuple(_known(listing, clause) for clause in parse_filter(text))


def _known(listing: Listing, clause: Clause) -> Clause:
    if listing.tagged and clause.key.startswith("tags."):
        if clause.operation != "EQUALS":
            raise invalid_input(
                f'only EQUALS operation is supported for tag filtering, got {clause.operation} for key "{clause.key}"'
            )
        if not clause.survives:
            raise invalid_input(f'tag filter value must be a string for key "{clause.key}"')
        tag = clause.key.removeprefix("tags.")
        return replace(
            clause, sql="(SELECT value FROM json_each(tags) WHERE key = ?) = ?", values=(tag, *clause.values)
        )
    if clause.key not in listing.keys:
        raise invalid_input(f'no support for filtering on unrecognized field "{clause.key}"')
    return clause
