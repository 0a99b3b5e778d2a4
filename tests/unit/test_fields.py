"""Tables of fields: what is refused, what has no effect, and that the list for people is that of the tables."""

from __future__ import annotations

from pydantic import JsonValue

from meta.sandbox.fields import ANY_KEY, NO_EFFECT, REFUSED, USED, Table, examine, rows

TABLE: Table = {
    "name": USED, "scheduling": NO_EFFECT, "later": REFUSED,
    "steps": {"name": USED, "inner": {"deep": USED}}, "named": {ANY_KEY: {"value": USED}},
}  # fmt: skip


def test_what_is_unknown_or_refused_is_found_with_its_place() -> None:
    document: JsonValue = {
        "name": "x", "steps": [{"name": "a", "odd": 1}, {"inner": {"deep": [{"any": 1}], "other": {}}}],
        "later": 1, "named": {"k": {"value": 1, "else": 2}},
    }  # fmt: skip
    assert list(examine(document, TABLE, "spec")) == [
        ("spec.steps[a].odd", REFUSED),
        ("spec.steps[1].inner.other", REFUSED),
        ("spec.later", REFUSED),
        ("spec.named.k.else", REFUSED),
    ]


def test_what_has_no_effect_is_found_and_what_nobody_set_is_not() -> None:
    assert list(examine({"scheduling": {"a": 1}}, TABLE)) == [("scheduling", NO_EFFECT)]
    assert list(examine({"scheduling": {}, "later": None, "unknown": ""}, TABLE)) == []


def test_a_table_is_listed_whole() -> None:
    assert list(rows(TABLE, "T")) == [
        ("T", "name", USED), ("T", "scheduling", NO_EFFECT), ("T", "later", REFUSED), ("T", "steps", USED),
        ("T", "named", USED), ("T.steps", "name", USED), ("T.steps", "inner", USED), ("T.named", "*", USED),
        ("T.steps.inner", "deep", USED), ("T.named", "value", USED),
    ]  # fmt: skip
