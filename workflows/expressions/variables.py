"""Plain variables: `item` and `index` of a fan-out, `outcome` of a run that is ending, `event` of a message.

They stand for no other step, so the plan does not look for them, and a macro may give its own variable such a name.
Those with known fields are declared field by field (`outcome.state`, `item.rate`), so that the checker knows types.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from workflows.expressions.cel import Issue
from workflows.expressions.tokens import MACROS, Kind, tokenize
from workflows.expressions.types import ExprType, common, of_value
from workflows.outcome import RunState
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue

OUTCOME = {"outcome.state": ExprType.STRING, "outcome.message": ExprType.STRING, "outcome.failed_step": ExprType.STRING}
"""How the steps of a run came out, as compensations and `finally` read it."""

OUTCOME_STATES = tuple(str(s) for s in RunState if s.ended and s is not RunState.TERMINATED)
"""What `outcome.state` can be: nothing of a run that Temporal terminates is run any more."""

EVENT = {"event": ExprType.OBJECT}
"""A message, as the condition of `wait.event` reads it."""

_WHERE = {
    "item": "item and index can be read in a step with 'foreach': in its parameters, artifacts and cache.key",
    "outcome": "outcome can be read in 'compensate' and in steps of 'finally'; retryOn has one of its own",
    "event": "event can be read in triggers and in wait.event.when",
}
_WHERE["index"] = _WHERE["item"]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNDECLARED = re.compile(r"undeclared reference to '([^'.]+)(?:\.([^']+))?'")


def item_types(elements: Sequence[ExprType], fields: Mapping[str, ExprType] | None = None) -> dict[str, ExprType]:
    """What the expressions of a fan-out's step read, with types.

    Args:
        elements: the items' types, as far as they are known.
        fields: of a matrix: the types of its values, by name.
    """
    if fields is None:
        return {"item": common(elements), "index": ExprType.INTEGER}
    named = {f"item.{name}": type_ for name, type_ in fields.items()}
    return {"item": ExprType.OBJECT, "index": ExprType.INTEGER, **named}


def item_values(item: JsonValue, index: int) -> tuple[dict[str, ExprType], JsonObject]:
    """Types and values of what the expressions of one item read.

    The fields of an object are declared beside it, as at validation: only so can an integer beside a number become one.

    Args:
        item: one of `foreach`.
        index: its place, from 0.
    """
    values: JsonObject = {"item": item, "index": index}
    if isinstance(item, dict):
        values |= {f"item.{name}": value for name, value in item.items() if _NAME.fullmatch(name)}
    types = {name: of_value(value) for name, value in values.items()}
    return {name: ExprType.ANY if t is ExprType.NULL else t for name, t in types.items()}, values


def misread_variables(text: str, declared: Mapping[str, ExprType]) -> list[Issue]:
    """Fields that a variable with known fields does not have, and states that no outcome has."""
    tokens = tokenize(text)
    words = [t.text for t in tokens]
    issues: list[Issue] = []
    for root in ("item", "outcome"):
        fields = _fields(root, declared)
        if not fields or _is_bound(root, words):
            continue
        for i, token in enumerate(tokens):
            if token.kind is not Kind.NAME or token.text != root or words[i - 1 : i] == ["."]:
                continue
            field = tokens[i + 2] if words[i + 1 : i + 2] == ["."] and i + 2 < len(tokens) else None
            if field is None or words[i + 3 : i + 4] == ["("]:
                if root == "outcome":
                    hint = f"write {' or '.join(OUTCOME)}"
                    issues.append(Issue("'outcome' cannot be read as a whole", token.start, hint))
            elif field.text not in fields:
                message = f"{_A[root]} has no '{field.text}'"
                issues.append(Issue(message, field.start, did_you_mean(field.text, fields, what="it has")))
            elif root == "outcome" and field.text == "state" and words[i + 3 : i + 4] in (["=="], ["!="]):
                word = words[i + 4].strip("'\"") if i + 4 < len(tokens) else ""
                if i + 4 < len(tokens) and tokens[i + 4].kind is Kind.STRING and word not in OUTCOME_STATES:
                    hint = did_you_mean(word, OUTCOME_STATES, what="states")
                    issues.append(Issue(f"a run that ends has no state '{word}'", tokens[i + 4].start, hint))
    return issues


def where_it_can_be_read(issue: Issue, declared: Mapping[str, ExprType]) -> Issue | None:
    """A better issue for a variable that there is in other places only; None for everything else."""
    match = _UNDECLARED.search(issue.raw)
    name = match.group(1) if match is not None else ""
    if name not in _WHERE or any(v.split(".")[0] == name for v in declared):
        return None
    return Issue(f"there is no '{name}' here", issue.offset, _WHERE[name], issue.raw)


_A = {"item": "an item of this matrix", "outcome": "an outcome"}


def _fields(root: str, declared: Mapping[str, ExprType]) -> Collection[str]:
    return [name.removeprefix(f"{root}.") for name in declared if name.startswith(f"{root}.")]


def _is_bound(root: str, words: list[str]) -> bool:
    """Whether a macro gives its own variable this name; then the checker alone tells which is meant."""
    return any(
        words[i] in MACROS and words[i + 1 : i + 4] == ["(", root, ","] and words[i - 1 : i] == ["."]
        for i in range(len(words) - 3)
    )
