"""What only some expressions can read: `item` and `index` of a fan-out, `outcome` of a run that ends, `event`.

Those with known fields are declared field by field (`outcome.state`, `item.rate`), so that the checker knows types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from workflows.expressions.cel import Issue
from workflows.expressions.references import ITEM, OUTCOME_FIELDS, Reference, find_references
from workflows.expressions.tokens import Kind, tokenize
from workflows.expressions.types import ExprType, common
from workflows.outcome import RunState
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue

OUTCOME = {f"outcome.{name}": ExprType.STRING for name in OUTCOME_FIELDS}
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


def fields_of_item(item: JsonValue) -> JsonObject:
    """The fields of an item by qualified name.

    They are declared beside the item, as at validation: only so can an integer beside a number become one.
    """
    if not isinstance(item, dict):
        return {}
    return {f"{ITEM}.{name}": value for name, value in item.items() if _NAME.fullmatch(name)}


def misread_variables(text: str, declared: Mapping[str, ExprType]) -> list[Issue]:
    """Fields that no item of a matrix has, and states that no outcome has."""
    tokens = tokenize(text)
    words = [token.text for token in tokens]
    issues: list[Issue] = []
    fields = [name.removeprefix(f"{ITEM}.") for name in declared if name.startswith(f"{ITEM}.")]
    for found in find_references(text):
        i = next(at for at, token in enumerate(tokens) if token.start == found.start)
        if found.reference.root == ITEM and fields and words[i + 1 : i + 2] == ["."] and words[i + 3 : i + 4] != ["("]:
            field = tokens[i + 2]
            if field.text not in fields:
                hint = did_you_mean(field.text, fields, what="it has")
                issues.append(Issue(f"an item of this matrix has no '{field.text}'", field.start, hint))
        elif str(found.reference) == "outcome.state" and words[i + 3 : i + 4] in (["=="], ["!="]):
            against = tokens[i + 4] if i + 4 < len(tokens) else None
            if against is not None and against.kind is Kind.STRING and against.text[1:-1] not in OUTCOME_STATES:
                word = against.text[1:-1]
                hint = did_you_mean(word, OUTCOME_STATES, what="states")
                issues.append(Issue(f"a run that ends has no state '{word}'", against.start, hint))
    return issues


def missing_variable(reference: Reference, at: int, declared: Mapping[str, ExprType]) -> Issue | None:
    """The issue of an `item`, `index` or `outcome` that is not here, or of a field that the outcome has not."""
    if not any(name.split(".")[0] == reference.root for name in declared):
        return Issue(f"there is no '{reference.root}' here", at, _WHERE[reference.root])
    if reference.root == "outcome" and reference.name not in OUTCOME_FIELDS:
        hint = did_you_mean(reference.name, OUTCOME_FIELDS, what="it has")
        return Issue(f"an outcome has no '{reference.name}'", at, hint)
    return None


def where_event_is(issue: Issue, declared: Mapping[str, ExprType]) -> Issue:
    """A better issue for an `event` where there is none; the same for everything else."""
    if "event" in declared or not _NO_EVENT.search(issue.raw):
        return issue
    return replace(issue, message="there is no 'event' here", hint=_WHERE["event"])


_NO_EVENT = re.compile(r"undeclared reference to 'event[.']")
