"""The trigger lets in what the sensor lets in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.importing.support import dependency, make, sensor
from workflows.errors import ExpressionFailed
from workflows.values import JsonValue


def filters(text: str, more: str = "") -> str:
    return sensor(dependencies=dependency(f"filters:\n{text}{more}"))


def data(*entries: str, operator: str = "") -> str:
    lines = "".join(f"    - {entry}\n" for entry in entries)
    return f"  data:\n{lines}" + (f"  dataLogicalOperator: {operator}\n" if operator else "")


ROWS = '{path: body.rows, type: number, comparator: "%s", value: ["1000"]}'


@pytest.mark.parametrize(
    ("comparator", "let_in"),
    [(">", [1001]), (">=", [1000, 1001]), ("<", [999.5]), ("<=", [999.5, 1000]), ("=", [1000]), ("!=", [999.5, 1001])],
)
def test_numbers_are_compared(tmp_path: Path, comparator: str, let_in: list[float]) -> None:
    made = make(tmp_path, filters(data(ROWS % comparator)))
    assert [rows for rows in (999.5, 1000, 1001) if made.lets_in({"rows": rows})] == let_in
    assert not made.lets_in({"other": 1}), "the sensor discards an event without the path"


def test_texts_are_regular_expressions_of_which_one_must_be_found(tmp_path: Path) -> None:
    made = make(tmp_path, filters(data('{path: body.format, type: string, value: ["^parquet$", "csv"]}')))
    found = [text for text in ("parquet", "parquets", "a.csv.gz", "json") if made.lets_in({"format": text})]
    assert found == ["parquet", "a.csv.gz"]
    assert not made.lets_in({"format": 5})


def test_a_text_that_must_not_be_found(tmp_path: Path) -> None:
    made = make(tmp_path, filters(data('{path: body.format, type: string, comparator: "!=", value: ["csv"]}')))
    assert made.lets_in({"format": "parquet"})
    assert not made.lets_in({"format": "csv"})


def test_truth_is_compared_and_a_text_that_says_it_is_not_taken_for_it(tmp_path: Path) -> None:
    made = make(tmp_path, filters(data('{path: body.ready, type: bool, value: ["true"]}')))
    assert [made.lets_in({"ready": value}) for value in (True, False, "true")] == [True, False, False]
    assert "a value of another type than the filter's" in made.differs


def test_a_number_that_is_a_text_is_put_aside_and_not_passed_over(tmp_path: Path) -> None:
    made = make(tmp_path, filters(data(ROWS % ">")))
    with pytest.raises(ExpressionFailed):
        made.lets_in({"rows": "many"})


def test_all_data_filters_hold_or_one_of_them(tmp_path: Path) -> None:
    both = (ROWS % ">", '{path: body.format, type: string, value: ["csv"]}')
    messages: list[JsonValue] = [
        {"rows": 2000, "format": "csv"}, {"rows": 2000, "format": "x"}, {"rows": 2000}, {"format": "x", "rows": 1},
    ]  # fmt: skip
    every = make(tmp_path / "and", filters(data(*both)))
    some = make(tmp_path / "or", filters(data(*both, operator="or")))
    assert [every.lets_in(one) for one in messages] == [True, False, False, False]
    assert [some.lets_in(one) for one in messages] == [True, True, True, False]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("body.a.b.0.c", {"a": {"b": [{"c": 1500}]}}),
        (r"body.a\.b", {"a.b": 1500}),
        ("body.row-count", {"row-count": 1500}),
        ("body.in", {"in": 1500}),
    ],
)
def test_paths_of_keys_and_positions_are_followed(tmp_path: Path, path: str, message: JsonValue) -> None:
    made = make(tmp_path, filters(data(f"{{path: '{path}', type: number, comparator: '>', value: ['1000']}}")))
    assert made.lets_in(message)
    assert not made.lets_in({"x": 1, "a": {"b": []}})


@pytest.mark.parametrize("path", ["body.#.rows", "body.*.rows", "body.rows|@this", "body.a.#(b==1).c", "nothing.rows"])
def test_other_paths_are_said_with_their_place_and_the_trigger_lets_in_more(tmp_path: Path, path: str) -> None:
    entry = f"{{path: '{path}', type: number, comparator: '>', value: ['1']}}"
    made = make(tmp_path, filters(data(entry, ROWS % ">")))
    assert made.lets_in({"rows": 1001})
    assert not made.lets_in({"rows": 1})
    assert "sensor.yaml:19:" in made.left_out
    assert path in made.left_out


def test_of_filters_of_which_one_must_hold_none_is_kept_when_one_is_not_carried(tmp_path: Path) -> None:
    entry = "{path: 'body.#.rows', type: number, comparator: '>', value: ['1']}"
    made = make(tmp_path, filters(data(entry, ROWS % ">", operator="or")))
    assert made.trigger.when is None


def test_subject_headers_and_metadata_of_the_event_are_read(tmp_path: Path) -> None:
    entries = (
        '{path: subject, type: string, value: ["arrived$"]}',
        '{path: header.X-Team.0, type: string, value: ["ml"]}',
        '{path: metadata.site, type: string, value: ["north"]}',
    )
    made = make(tmp_path, filters(data(*entries)))
    assert made.lets_in({}, headers={"X-Team": "ml"})
    assert not made.lets_in({}, headers={"X-Team": "web"})
    assert not made.lets_in({})


def exprs(*pairs: tuple[str, str], operator: str = "") -> str:
    lines = "".join(f"    - expr: {expr}\n      fields: [{fields}]\n" for expr, fields in pairs)
    return f"  exprs:\n{lines}" + (f"  exprLogicalOperator: {operator}\n" if operator else "")


A, B = "{name: a, path: body.a}", "{name: b-b, path: body.b}"


@pytest.mark.parametrize(
    ("expression", "fields", "yes", "no"),
    [
        ('a == "x" || a == "y"', A, {"a": "y"}, {"a": "z"}),
        ("a > 10 && !([b-b] == false)", f"{A}, {B}", {"a": 10.5, "b": True}, {"a": 11, "b": False}),
        ("a in (1, 2, 3)", A, {"a": 2}, {"a": 4}),
        ('a =~ "^da.a" && a !~ "x$"', A, {"a": "data-"}, {"a": "data-x"}),
        ("(a >= -5) == true", A, {"a": 0}, {"a": -6}),
        ("a ? [b-b] : false", f"{A}, {B}", {"a": True, "b": True}, {"a": False, "b": True}),
        ("a == 'q\"('", A, {"a": 'q"('}, {"a": "q"}),
    ],
)
def test_expressions_are_told_in_cel(
    tmp_path: Path, expression: str, fields: str, yes: JsonValue, no: JsonValue
) -> None:
    quoted = "'" + expression.replace("'", "''") + "'"
    made = make(tmp_path, filters(exprs((quoted, fields))))
    assert made.lets_in(yes)
    assert not made.lets_in(no)
    assert not made.lets_in({"c": 1}), "the sensor discards an event without the fields"


@pytest.mark.parametrize(
    "expression", ["a + 1 > 2", "a ** 2 > 4", "b > 1", "a ?? 1 == 1", "a > $", "a.b(1) > 1", "a in"]
)
def test_expressions_that_are_not_carried_are_said(tmp_path: Path, expression: str) -> None:
    made = make(tmp_path, filters(exprs((f'"{expression}"', A))))
    assert made.trigger.when is None
    assert "sensor.yaml:19:" in made.left_out


def test_times_of_day_are_kept_also_over_midnight_and_in_a_zone(tmp_path: Path) -> None:
    day = make(tmp_path / "day", filters('  time: {start: "06:00:00", stop: "22:00:00"}\n'))
    night = make(tmp_path / "night", filters('  time: {start: "22:00:00", stop: "06:00:00"}\n'))
    zone = make(
        tmp_path / "zone", filters('  time: {start: "06:00:00", stop: "07:00:00", timezone: America/New_York}\n')
    )
    times = [f"2026-05-01T{time}" for time in ("05:59:59", "06:00:00", "10:30:00", "21:59:59", "22:00:00")]
    assert [day.lets_in({}, at=time) for time in times] == [False, True, True, True, False]
    assert [night.lets_in({}, at=time) for time in times] == [True, False, False, False, True]
    assert [zone.lets_in({}, at=time) for time in times] == [False, False, True, False, False]


def test_a_context_that_every_event_has_asks_for_nothing(tmp_path: Path) -> None:
    made = make(tmp_path, filters("  context: {type: nats, source: lake, subject: arrivals}\n"))
    assert made.trigger.when is None
    assert made.left_out == ""


def test_a_context_that_no_event_has_starts_nothing_and_is_said(tmp_path: Path) -> None:
    made = make(tmp_path, filters("  context: {type: webhook}\n"))
    assert made.triggers == []
    assert "refuse every message" in made.left_out


def test_filters_of_several_kinds_hold_together_or_one_of_them(tmp_path: Path) -> None:
    text = data(ROWS % ">") + exprs(("a == 1", A))
    both = make(tmp_path / "and", filters(text))
    some = make(tmp_path / "or", sensor(dependencies=dependency(f"filters:\n{text}filtersLogicalOperator: or\n")))
    messages: list[JsonValue] = [{"rows": 2000, "a": 1}, {"rows": 2000}, {"a": 1}, {"a": 2}]
    assert [both.lets_in(one) for one in messages] == [True, False, False, False]
    assert [some.lets_in(one) for one in messages] == [True, True, True, False]


def test_scripts_and_templates_are_said(tmp_path: Path) -> None:
    text = (
        data("{path: body.a, type: string, template: '{{ b64dec .Input }}', value: ['x']}") + "  script: return true\n"
    )
    made = make(tmp_path, filters(text))
    assert made.trigger.when is None
    assert "Lua" in made.left_out
    assert "b64dec" in made.left_out


def test_a_transform_that_goes_down_is_followed_and_a_program_is_said(tmp_path: Path) -> None:
    text = data("{path: rows, type: number, comparator: '>', value: ['1']}")
    down = make(
        tmp_path / "down", sensor(dependencies=dependency(f"transform: {{jq: .body.detail}}\nfilters:\n{text}"))
    )
    assert down.lets_in({"detail": {"rows": 2}})
    other = make(
        tmp_path / "jq", sensor(dependencies=dependency(f"transform: {{jq: '.body | keys'}}\nfilters:\n{text}"))
    )
    assert other.trigger.when is None
    assert "transform of 'file' is a program" in other.left_out
