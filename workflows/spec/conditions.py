"""Conditions: expressions as they stand, which must give true or false."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workflows.errors import Problem
from workflows.expressions.check import Checked
from workflows.expressions.types import ExprType
from workflows.spec.locate import Locator, Path


def check_condition(
    path: Path,
    text: str,
    check: Callable[[str], Checked],
    locate: Locator,
    issues: Callable[[Checked], Iterator[Problem]] | None = None,
) -> Iterator[Problem]:
    """Problems of a condition.

    Args:
        path: where it stands; its last part is the word for it.
        text: of the expression.
        check: against what it can read.
        locate: where things stand.
        issues: problems of what the check found; by default its own words.
    """
    word = path[-1]
    if "${{" in text:
        hint = f"leave ${{{{ }}}} out: {word} is an expression as it stands"
        yield locate.problem(path, f"{word} is no template", hint=hint)
        return
    checked = check(text)
    if issues is not None:
        yield from issues(checked)
    else:
        for issue in checked.issues:
            yield locate.problem(path, issue.message, hint=issue.hint, within=(text, issue.offset))
    if not checked.issues and checked.returns not in (ExprType.BOOLEAN, ExprType.ANY):
        message = f"{word} must be true or false, this is {checked.returns}"
        yield locate.problem(path, message, hint="compare it with something")
