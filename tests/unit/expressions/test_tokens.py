"""String literals and comments hide names; macros are counted where they stand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.expressions.tokens import Kind, macro_nesting, tokenize


@pytest.mark.parametrize(
    "literal",
    [
        "'inputs.x'",
        '"inputs.x"',
        "r'inputs.x\\'",
        "b'inputs.x'",
        "'''inputs.x\n'''",
        '"""a"b"""',
        "'it\\'s inputs.x'",
        "rb'x'",
    ],
)
def test_a_string_literal_is_one_word(literal: str) -> None:
    assert next((t.kind, t.text) for t in tokenize(f"{literal} + 1")) == (Kind.STRING, literal)


def test_comments_and_spaces_are_no_words() -> None:
    assert [t.text for t in tokenize("a // inputs.x\n + b")] == ["a", "+", "b"]


@given(st.text())
def test_any_text_is_taken_apart_without_loss(text: str) -> None:
    tokens = tokenize(text)
    assert all(text[t.start : t.end] == t.text for t in tokens)
    assert all(a.end <= b.start for a, b in pairwise(tokens))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[1].map(x, x)", (1, 1)),
        ("[1].map(x, [2].filter(y, y > x))", (2, 2)),
        ("[1].map(x, x).filter(y, true)", (2, 1)),
        ("map(x, 1)", (0, 0)),
        ("'[1].map(x, x)'", (0, 0)),
    ],
)
def test_macros_are_counted_with_their_depth(expression: str, expected: tuple[int, int]) -> None:
    assert macro_nesting(tokenize(expression)) == expected
