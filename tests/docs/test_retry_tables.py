"""The tables of the page on retries say what the code does."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.docs.pages import prose
from workflows.expressions.retry_on import NODE_FIELDS, OUTCOME
from workflows.outcome import MAX_FAILED_NODES, MAX_LOG_CHARACTERS, MAX_LOG_LINES, FailureClass
from workflows.retry import ASKED, Action, History, Policy, decide
from workflows.spec.durations import format_duration
from workflows.spec.steps import CANCEL_GRACE, RETRYABLE

PAGE = prose("docs/retries-and-cancellation.md")
STRATEGIES: tuple[Literal["restart", "resume", "auto"], ...] = ("restart", "resume", "auto")
WORDS = {
    Action.RESTART: "new run",
    Action.RESUME: "in place",
    Action.RESUME_OR_RESTART: "in place, else new run",
    Action.GIVE_UP: "never",
}


def table() -> dict[str, list[str]]:
    """Rows of the table of failures and strategies, by failure."""
    lines = PAGE[PAGE.index("| Failure | `restart` | `resume` | `auto` |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_every_failure_that_reaches_a_policy_has_its_row() -> None:
    assert set(table()) == {str(failure) for failure in RETRYABLE} | {"refused"}


@pytest.mark.parametrize("failure", [*RETRYABLE, FailureClass.REJECTED])
def test_a_row_says_what_follows_a_failure(failure: FailureClass) -> None:
    *actions, when = table()["refused" if failure is FailureClass.REJECTED else str(failure)]
    all_of_them = frozenset(FailureClass)
    for strategy, word in zip(STRATEGIES, actions, strict=True):
        assert WORDS[decide(failure, Policy(3, strategy, retry_on=all_of_them), History()).action] == word
    by_default = decide(failure, Policy(3), History()).action is not Action.GIVE_UP
    named = decide(failure, Policy(3, retry_on=frozenset({failure})), History()).action is not Action.GIVE_UP
    lost = decide(failure, Policy(3, on_lost="restart"), History()).action is not Action.GIVE_UP
    assert when.startswith("by default" if by_default else "only" if named else "never")
    assert ("`retryOn`" in when) is named
    assert ("`onLost: restart`" in when) is (lost and not by_default)


def test_the_page_names_what_an_expression_reads_and_when_it_is_asked() -> None:
    for name in OUTCOME:
        assert f"`outcome.{name}`" in PAGE
    for name in NODE_FIELDS:
        assert f"`{name}`" in PAGE
    row = next(line for line in PAGE.splitlines() if line.startswith("| `outcome.failure` |"))
    assert all(str(failure) in row for failure in ASKED)


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    assert f"{MAX_FAILED_NODES} at most" in PAGE
    assert f"last {MAX_LOG_LINES} lines ({MAX_LOG_CHARACTERS // 1024} KB)" in PAGE
    assert f"`cancelGrace` ({CANCEL_GRACE.total_seconds():.0f} s by" in PAGE
    assert f"({format_duration(CANCEL_GRACE)})" in prose("docs/definition.md")
