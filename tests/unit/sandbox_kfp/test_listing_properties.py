"""Whatever the filter, the order and the page size: the pages give exactly the matching rows, once, in order."""

from __future__ import annotations

import datetime
import json
import operator
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.listing import EXPERIMENTS, list_page

Row = dict[str, Any]
Predicate = dict[str, Any]

WORDS = st.text(alphabet="abAB-é", min_size=0, max_size=3)
SECONDS = st.integers(min_value=0, max_value=4)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "description": WORDS, "created_at": SECONDS, "last_run_created_at": SECONDS,
            "storage_state": st.sampled_from(["AVAILABLE", "ARCHIVED"]),
        }
    ),
    max_size=12,
)  # fmt: skip
SCALAR: dict[str, Callable[[Any, Any], bool]] = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt,
    "LESS_THAN_EQUALS": operator.le,
}
TEXTS, TIMES = ("description", "storage_state"), ("created_at", "last_run_created_at")
NUMBER_KINDS = ("int_value", "long_value", "timestamp_value")


def time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@st.composite
def predicates(draw: st.DrawFn) -> Predicate:
    operation = draw(st.sampled_from([*SCALAR, "IN", "IS_SUBSTRING"]))
    of_text = operation == "IS_SUBSTRING" or draw(st.booleans())
    key = draw(st.sampled_from(TEXTS if of_text else TIMES))
    value = WORDS if of_text else SECONDS
    if operation == "IN":
        kind = "string_values" if of_text else draw(st.sampled_from(["int_values", "long_values"]))
        return {"operation": operation, "key": key, kind: {"values": draw(st.lists(value, max_size=3))}}
    if of_text:
        return {"operation": operation, "key": key, "string_value": draw(value)}
    kind = draw(st.sampled_from(NUMBER_KINDS))
    number = draw(SECONDS)
    said = {"int_value": number, "long_value": str(number), "timestamp_value": time(number)}[kind]
    return {"operation": operation, "key": key, kind: said, "number": number}


def said(predicate: Predicate) -> Predicate:
    return {key: value for key, value in predicate.items() if key != "number"}


def holds(row: Row, predicate: Predicate) -> bool:
    """A model of the operations, in Python."""
    value = row[predicate["key"]]
    operation = predicate["operation"]
    if operation == "IN":
        return value in next(iter(v for k, v in predicate.items() if k.endswith("values")))["values"]
    if operation == "IS_SUBSTRING":
        return lower(predicate["string_value"]) in lower(value)
    other = predicate.get("number", predicate.get("string_value"))
    return SCALAR[operation](value, other)


def lower(text: str) -> str:
    """LIKE takes ASCII letters of either case for the same."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def filled(folder: str, rows: list[Row]) -> Database:
    database = Database(Path(folder) / "kfp.sqlite")
    for number, row in enumerate(rows):
        row["id"], row["display_name"] = str(uuid.UUID(int=number * 7919 % 104729)), f"e{number}"
        database.execute(
            "INSERT INTO experiments VALUES (?, ?, ?, ?, ?, ?, '')", row["id"], row["display_name"], row["description"],
            row["created_at"], row["last_run_created_at"], row["storage_state"],
        )  # fmt: skip
    return database


@settings(max_examples=120, deadline=None)
@given(
    rows=ROWS,
    wanted=st.lists(predicates(), max_size=3),
    key=st.sampled_from(["", "experiment_id", "display_name", "description", *TIMES, "storage_state", "namespace"]),
    direction=st.sampled_from(["", " asc", " desc"]),
    size=st.integers(min_value=1, max_value=5),
)
def test_pages_give_exactly_the_matching_rows_once_in_order(
    rows: list[Row], wanted: list[Predicate], key: str, direction: str, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = filled(folder, rows)
        query = {"page_size": str(size), "filter": json.dumps({"predicates": [said(one) for one in wanted]})}
        if key:
            query["sort_by"] = key + direction
        column = {"": "created_at", "experiment_id": "id"}.get(key, key)
        matching = [row for row in rows if all(holds(row, one) for one in wanted)]
        expected = sorted(
            matching, key=lambda row: (row.get(column, ""), row["id"]), reverse=bool(key) and direction == " desc"
        )
        found: list[str] = []
        while True:
            page = list_page(database, EXPERIMENTS, query)
            assert page.total_size == len(matching)
            assert len(page.rows) == size or not page.next_page_token
            found += [row["id"] for row in page.rows]
            if not page.next_page_token:
                break
            query = {"page_size": str(size), "page_token": page.next_page_token}
        database.close()
        assert found == [row["id"] for row in expected]
