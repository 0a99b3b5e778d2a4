import base64
import json
from pathlib import Path
from typing import Any

import pytest

from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import ApiError
from meta.sandbox.kfp.listing import EXPERIMENTS, PIPELINES, RUNS, VERSIONS, Listing, Page, list_page
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


def listed(database: Database, *predicates: object, **query: str) -> Page:
    text = json.dumps({"predicates": predicates}) if predicates else ""
    return list_page(database, RUNS, {"filter": text, **query})


def names(database: Database, *predicates: object, **query: str) -> list[str]:
    return [row["display_name"] for row in listed(database, *predicates, **query).rows]


def equals(key: str, value: str) -> dict[str, str]:
    return {"operation": "EQUALS", "key": key, "string_value": value}


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        ({"operation": "EQUALS", "key": "display_name", "string_value": "a-1"}, ["a-1"]),
        ({"operation": "NOT_EQUALS", "key": "display_name", "string_value": "a-1"}, ["a-2", "b_3"]),
        ({"operation": "EQUALS", "key": "state", "string_value": "RUNNING"}, ["b_3"]),
        ({"operation": "EQUALS", "key": "status", "string_value": "Running"}, ["b_3"]),  # v1beta1's word
        ({"operation": "IN", "key": "state", "string_values": {"values": ["FAILED", "SUCCEEDED"]}}, ["a-1", "a-2"]),
        ({"operation": "IN", "key": "state", "string_values": {"values": []}}, []),
        ({"operation": "IN", "key": "created_at", "int_values": {"values": [100, 300]}}, ["a-1", "b_3"]),
        ({"operation": "IN", "key": "created_at", "longValues": {"values": ["200"]}}, ["a-2"]),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "A-"}, ["a-1", "a-2"]),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "\\_"}, ["b_3"]),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "a_1"}, ["a-1"]),  # LIKE's wildcard
        (
            {"operation": "GREATER_THAN", "key": "finished_at", "timestamp_value": "1970-01-01T00:02:30Z"},
            ["a-2"],
        ),
        (
            {"operation": "GREATER_THAN_EQUALS", "key": "finished_at", "timestamp_value": "1970-01-01T00:02:30.9Z"},
            ["a-1", "a-2"],
        ),
        (
            {"operation": "LESS_THAN", "key": "created_at", "timestamp_value": "1970-01-01T01:03:20%2B01:00"},
            ["a-1"],
        ),
        ({"operation": "LESS_THAN_EQUALS", "key": "created_at", "long_value": "200"}, ["a-1", "a-2"]),
        ({"operation": "EQUALS", "key": "created_at", "int_value": 200}, ["a-2"]),
        ({"operation": "EQUALS", "key": "namespace", "string_value": "team"}, []),  # a server for one user has none
        ({"operation": 1, "key": "display_name", "stringValue": "a-2"}, ["a-2"]),  # as kfp.Client writes it
    ],
)
def test_each_operation_finds_what_it_says(database: Database, predicate: object, found: list[str]) -> None:
    assert names(database, predicate) == found


def test_all_predicates_must_hold(database: Database) -> None:
    substring = {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "2"}
    assert names(database, equals("state", "SUCCEEDED"), substring) == ["a-2"]


def test_the_order_is_by_creation_unless_another_is_asked_for(database: Database) -> None:
    assert names(database) == ["a-1", "a-2", "b_3"]
    assert names(database, sort_by="created_at desc") == ["b_3", "a-2", "a-1"]
    assert names(database, sort_by="finished_at") == ["b_3", "a-1", "a-2"]
    assert names(database, sort_by="NAME DESC") == ["b_3", "a-2", "a-1"]


@pytest.mark.parametrize("listing", [RUNS, PIPELINES, VERSIONS, EXPERIMENTS], ids=lambda one: one.model)
def test_every_key_of_every_list_can_be_filtered_and_sorted_by(database: Database, listing: Listing) -> None:
    for key in listing.keys:
        text = json.dumps({"predicates": [equals(key, "nothing has this")]})
        assert list_page(database, listing, {"filter": text, "sort_by": f"{key} desc"}).rows == []


NUMBER = {"operation": "EQUALS", "key": "created_at", "int_value": 5}
REFUSED: list[tuple[object, str]] = [
    (
        {"operation": "EQUALS", "key": "state", "string_values": {}},
        "cannot use scalar operator EQUALS on array type []",
    ),
    ({"operation": "IN", "key": "state", "string_value": "RUNNING"}, "cannot use IN operator with scalar type string"),
    (NUMBER | {"operation": "IS_SUBSTRING"}, "cannot use non string value type int32 with operator IS_SUBSTRING"),
    (NUMBER | {"int_value": 2**31}, "failed to parse valid filter"),
    (NUMBER | {"int_value": True}, "a boolean is no number"),
    (NUMBER | {"string_value": "5"}, "oneof value is already set"),
    (NUMBER | {"operation": "LIKE"}, 'invalid value for enum field operation: "LIKE"'),
    (NUMBER | {"operation": 4}, 'invalid value for enum field operation: "4"'),
    (NUMBER | {"key": ""}, "Predicate key cannot be empty for operation EQUALS and value 5"),
    (NUMBER | {"key": "colour"}, 'no support for filtering on unrecognized field "colour"'),
    (NUMBER | {"colour": "red"}, 'unknown field "predicates.0.colour"'),
    ({"key": "state", "string_value": "x"}, "Error using Filter.Predicate.Operation with"),
    ({"operation": "EQUALS", "key": "state"}, "Error using Filter.Predicate.Value with <nil>"),
    ({"operation": "EQUALS", "key": "created_at", "timestamp_value": "2026-01-01T00:00:00"}, "Timestamp"),
    ({"operation": "EQUALS", "key": "created_at", "timestamp_value": "2026-01-01T00:00:00+00:00"}, "Timestamp"),
    (equals("display_name", "100%"), 'invalid URL escape "%"'),
]


@pytest.mark.parametrize(("predicate", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_predicate_that_makes_no_sense_is_refused_with_its_reason(
    database: Database, predicate: object, said: str
) -> None:
    with pytest.raises(ApiError) as caught:
        names(database, predicate)
    assert said in caught.value.external


@pytest.mark.parametrize("sort_by", ["created_at", "created_at desc", "state", "state desc", "status"])
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


def test_a_page_token_goes_with_its_own_query_or_with_none(database: Database) -> None:
    succeeded = equals("state", "SUCCEEDED")
    token = listed(database, succeeded, sort_by="created_at desc", page_size="1").next_page_token
    assert names(database, page_token=token) == ["a-1"]
    assert names(database, succeeded, sort_by="created_at desc", page_token=token) == ["a-1"]
    other: list[dict[str, Any]] = [
        {"sort_by": "created_at desc"},
        {"sort_by": "created_at", "filter": json.dumps({"predicates": [succeeded]})},
        {"filter": json.dumps({"predicates": [equals("state", "FAILED")]}), "sort_by": "created_at desc"},
    ]
    for query in other:
        with pytest.raises(ApiError, match="page token does not match the supplied sort by and/or filtering criteria"):
            list_page(database, RUNS, {**query, "page_token": token})


@pytest.mark.parametrize(
    "predicate",
    [
        {"operation": "GREATER_THAN_EQUALS", "key": "finished_at", "timestamp_value": "1970-01-01T00:00:00Z"},
        {"operation": "GREATER_THAN", "key": "created_at", "int_value": 1},
        {"operation": "NOT_EQUALS", "key": "created_at", "long_value": "1"},
        {"operation": "IN", "key": "state", "string_values": {"values": ["SUCCEEDED", "RUNNING"]}},
    ],
)
def test_a_filter_of_numbers_times_or_lists_is_refused_beside_its_own_token_as_on_the_real_server(
    database: Database, predicate: object
) -> None:
    token = listed(database, predicate, page_size="1").next_page_token
    with pytest.raises(ApiError, match="page token does not match"):
        names(database, predicate, page_token=token)
    assert len(names(database, page_token=token)) == 2


@pytest.mark.parametrize("text", ["x", "e30=", base64.b64encode(b'{"key": "created_at; DROP TABLE runs"}').decode()])
def test_what_is_no_page_token_is_refused(database: Database, text: str) -> None:
    with pytest.raises(ApiError, match="Invalid page token"):
        names(database, page_token=text)


def test_a_page_token_of_another_list_is_refused(database: Database) -> None:
    token = listed(database, page_size="1").next_page_token
    with pytest.raises(ApiError, match="one of a list of Run, not of Pipeline"):
        list_page(database, PIPELINES, {"page_token": token})


def test_pages_are_stable_when_runs_are_added_between_them(database: Database) -> None:
    first = listed(database, page_size="2")
    RunStore(database).create(RunRecord("later", "experiment", {}, {}, workflow="later"))
    rest = listed(database, page_size="2", page_token=first.next_page_token)
    assert [row["display_name"] for row in (*first.rows, *rest.rows)] == ["a-1", "a-2", "b_3", "later"]
