"""Subjects are compared as nats-server does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.spec.subjects import covers, overlaps, subject_fault

TOKENS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


def matches(pattern: list[str], tokens: list[str]) -> bool:
    """The rule itself, token by token."""
    if not pattern:
        return not tokens
    if pattern == [">"]:
        return bool(tokens)
    return bool(tokens) and pattern[0] in ("*", tokens[0]) and matches(pattern[1:], tokens[1:])


@st.composite
def patterns(draw: st.DrawFn) -> list[str]:
    made = draw(st.lists(st.sampled_from(["a", "b", "*"]), min_size=0, max_size=3))
    rest = draw(st.sampled_from([[], [">"]]))
    return made + rest or ["a"]


@given(patterns(), TOKENS)
def test_a_pattern_covers_and_overlaps_a_subject_if_it_matches_it(pattern: list[str], tokens: list[str]) -> None:
    expected = matches(pattern, tokens)
    assert covers(".".join(pattern), ".".join(tokens)) is expected
    assert overlaps(".".join(pattern), ".".join(tokens)) is expected
    assert overlaps(".".join(tokens), ".".join(pattern)) is expected


@given(patterns(), patterns(), TOKENS)
def test_what_a_covered_pattern_matches_the_wide_one_matches_and_overlaps_see_common_subjects(
    wide: list[str], narrow: list[str], tokens: list[str]
) -> None:
    both = matches(wide, tokens) and matches(narrow, tokens)
    if covers(".".join(wide), ".".join(narrow)) and matches(narrow, tokens):
        assert matches(wide, tokens)
    if both:
        assert overlaps(".".join(wide), ".".join(narrow))


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("a.>", "a.>", True),
        ("a.*", "a.>", False),
        (">", "a.>", True),
        ("a.*", "a.b.c", False),
        ("a.b", "a.*", False),
    ],
)
def test_covering(wide: str, narrow: str, covered: bool) -> None:
    assert covers(wide, narrow) is covered


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a b", "a\tb", "a..b", "a*", "*a", "x" * 201, "a.\x00"])
def test_what_is_no_subject_is_told(subject: str) -> None:
    assert subject_fault(subject, wildcards=True)


def test_wildcards_are_for_listening_only() -> None:
    assert subject_fault("a.*.>", wildcards=True) == ""
    assert "cannot stand" in subject_fault("a.*", wildcards=False)
    assert "cannot stand" in subject_fault("a.>", wildcards=False)
