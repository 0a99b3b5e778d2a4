"""YAML is read as version 1.2, with the place of everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.spec.yaml12 import Document
from workflows.values import JsonValue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("true", True),
        ("True", "True"),
        ("false", False),
        ("~", None),
        ("null", None),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        (".5", 0.5),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(text: str, value: JsonValue) -> None:
    document = Document(f"a: {text}\n")
    assert (document.value, document.problems) == ({"a": value}, [])
    assert repr(document.value) == repr({"a": value})  # 1 is not 1.0, nor True


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1), "key 'a' stands twice, first on line 1"),
        ("a: [1", (1, 6), "expected ',' or ']'"),
        ("", (1, 1), "the file is empty"),
        ("a:\n\t- b", (2, 1), "a tab; YAML indents with spaces"),
        ("a: !!python/object x", (1, 4), "means nothing here"),
        ("a: 1\n---\nb: 2", (2, 1), "second document"),
        ("x: &a [*a]", (1, 1), "nested more than 60 deep"),
        ("[" * 5000, (1, 1), "nested more than 60 deep"),
        ("a: *b", (1, 4), "undefined alias"),
        ("a: \x00", (1, 4), "a character that YAML does not allow"),
        ("a: .nan", (1, 4), "no number that JSON has"),
        ('a: "\\ud800"', (1, 4), "lone surrogate"),
        ("? [1]\n: 2", (1, 3), "a key must be a word"),
        ("é😀: 1\né😀: 2", (2, 1), "stands twice"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, place: tuple[int, int], message: str) -> None:
    problem = Document(text, "f.yaml").problems[0]
    assert message in problem.message
    assert (problem.line, problem.column) == place


def test_a_short_text_that_stands_for_billions_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "with aliases expanded" in Document("\n".join(lines)).problems[0].message


@given(st.text(alphabet="ab: -[]{},'\"#&*!|>%@`?\n\t1.~", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    document = Document(text)
    assert document.value is not None or document.problems or text
