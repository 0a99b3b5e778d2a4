import json
from pathlib import Path

import pytest

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import ApiError
from meta.sandbox.kfp.listing import RUNS, list_page
from meta.sandbox.kfp.runs import RunRecord, RunStore


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Runs a-1, a-2 and b_3, made at seconds 100, 200 and 300; the last has not finished."""
    database = Database(tmp_path / "kfp.sqlite")
    store = RunStore(database)
    for number, name in enumerate(("a-1", "a-2", "b_3"), start=1):
        run = store.create(RunRecord(name, "experiment", {}, {}, workflow=name))
        run.created_at = 100 * number
        run.state, run.finished_at = ("RUNNING", 0) if name == "b_3" else ("SUCCEEDED", 100 * number + 50)
        store.save(run)
    return database


def names(database: Database, *predicates: object, sort_by: str = "") -> list[str]:
    text = json.dumps({"predicates": predicates}) if predicates else ""
    page = list_page(database, RUNS, {"filter": text, "sort_by": sort_by})
    return [row["display_name"] for row in page.rows]


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        ({"operation": "EQUALS", "key": "display_name", "string_value": "a-1"}, ["a-1"]),
        ({"operation": "NOT_EQUALS", "key": "display_name", "string_value": "a-1"}, ["a-2", "b_3"]),
        ({"operation": "EQUALS", "key": "state", "string_value": "RUNNING"}, ["b_3"]),
        ({"operation": "IN", "key": "state", "string_values": {"values": ["FAILED", "SUCCEEDED"]}}, ["a-1", "a-2"]),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "A-"}, ["a-1", "a-2"]),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "_"}, ["b_3"]),
        (
            {"operation": "GREATER_THAN", "key": "finished_at", "timestamp_value": "1970-01-01T00:02:30Z"},
            ["a-2"],
        ),
        (
            {"operation": "GREATER_THAN_EQUALS", "key": "finished_at", "timestamp_value": "1970-01-01T00:02:30Z"},
            ["a-1", "a-2"],
        ),
        (
            {"operation": "LESS_THAN", "key": "created_at", "timestamp_value": "1970-01-01T01:03:20+01:00"},
            ["a-1"],
        ),
        ({"operation": "LESS_THAN_EQUALS", "key": "created_at", "long_value": "200"}, ["a-1", "a-2"]),
        ({"operation": 1, "key": "display_name", "stringValue": "a-2"}, ["a-2"]),  # as kfp.Client writes it
    ],
)
def test_each_operation_finds_what_it_says(database: Database, predicate: object, found: list[str]) -> None:
    assert names(database, predicate) == found


def test_all_predicates_must_hold(database: Database) -> None:
    first = {"operation": "EQUALS", "key": "state", "string_value": "SUCCEEDED"}
    second = {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "2"}
    assert names(database, first, second) == ["a-2"]


def test_the_order_is_by_creation_unless_another_is_asked_for(database: Database) -> None:
    assert names(database) == ["a-1", "a-2", "b_3"]
    assert names(database, sort_by="created_at desc") == ["b_3", "a-2", "a-1"]
    assert names(database, sort_by="finished_at") == ["b_3", "a-1", "a-2"]


@pytest.mark.parametrize("sort_by", ["created_at", "created_at desc", "state", "state desc"])
def test_pages_give_every_run_once_even_among_equals(database: Database, sort_by: str) -> None:
    seen: list[str] = []
    token = ""
    while True:
        # the token alone carries the query
        query = {"page_token": token, "page_size": "1"} if token else {"sort_by": sort_by, "page_size": "1"}
        page = list_page(database, RUNS, query)
        assert page.total_size == 3
        seen += [row["display_name"] for row in page.rows]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["a-1", "a-2", "b_3"]


def test_a_value_of_another_kind_is_refused_with_the_operation(database: Database) -> None:
    with pytest.raises(ApiError, match="takes one value"):
        names(database, {"operation": "EQUALS", "key": "state", "string_values": {"values": ["RUNNING"]}})
    with pytest.raises(ApiError, match="operator IN"):
        names(database, {"operation": "IN", "key": "state", "string_value": "RUNNING"})
