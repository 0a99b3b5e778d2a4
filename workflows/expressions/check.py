"""Checks one expression against what there is to read: names, types, limits; with hints, all issues at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from workflows.expressions.cel import MAX_LENGTH, CompileFailed, Issue, compile_checked
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import (
    INDEX,
    ITEM_ROOTS,
    RUN_FIELDS,
    Found,
    Reference,
    ReferenceMalformed,
    find_references,
)
from workflows.expressions.tokens import macro_nesting, tokenize
from workflows.expressions.types import ExprType
from workflows.outcome import Artifact, StepState
from workflows.suggest import did_you_mean

MAX_MACRO_NESTING = 2
MAX_MACROS = 16
ARTIFACT_FIELDS = tuple(Artifact.model_fields)
_RUNS_FIELDS = re.compile(r"\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)(?!\s*\(|[A-Za-z0-9_])")


@dataclass(frozen=True, slots=True)
class StepScope:
    """What can be read of a step.

    Attributes:
        outputs: types by name; None when anything may be there, as with a template that only the engine knows.
        artifacts: names; None when anything may be there.
        origin: what says so, for messages: `train.yaml`, or `outputs` of the step.
    """

    outputs: Mapping[str, ExprType] | None = None
    artifacts: Collection[str] | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can read.

    Attributes:
        here: the step that the expression belongs to, which it cannot read; empty in the definition's outputs.
    """

    inputs: Mapping[str, ExprType]
    steps: Mapping[str, StepScope]
    here: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression's type (`ANY` when it has issues) and what it reads."""

    returns: ExprType
    references: tuple[Reference, ...] = ()
    issues: tuple[Issue, ...] = field(default=())


def check_expression(text: str, scope: Scope) -> Checked:
    """Check an expression."""
    if issues := check_limits(text):
        return Checked(ExprType.ANY, (), tuple(issues))
    try:
        found = find_references(text)
    except ReferenceMalformed as error:
        return Checked(ExprType.ANY, (), (Issue(error.message, error.offset, error.hint),))
    issues = [issue for f in found if (issue := _missing(f, text, scope)) is not None]
    distinct = tuple(dict.fromkeys(f.reference for f in found))
    variables = {str(r): reference_type(r, scope) for r in distinct}
    try:
        returns = compile_expression(text, variables).returns
    except CompileFailed as failure:
        return Checked(ExprType.ANY, distinct, (*issues, *failure.issues))
    issues.extend(_disagreements(text, found))
    return Checked(ExprType.ANY if issues else returns, distinct, tuple(issues))


def check_against(text: str, variables: Mapping[str, ExprType], reads: str) -> Checked:
    """Check an expression that reads variables of its own, and no inputs or steps.

    Args:
        text: within the limits.
        variables: what it reads, with types.
        reads: the same in words: the hint for a name that there is not.
    """
    try:
        return Checked(compile_expression(text, variables).returns)
    except CompileFailed as failure:
        hints = [replace(i, hint=reads) if "there is no name" in i.message else i for i in failure.issues]
        return Checked(ExprType.ANY, (), tuple(hints))


def reference_type(reference: Reference, scope: Scope) -> ExprType:
    """The type of what is read; `ANY` when it is unknown or does not exist, so that one slip makes one issue."""
    if reference.root in ITEM_ROOTS:
        return ExprType.INTEGER if reference.root == INDEX else ExprType.ANY
    if reference.root == "run" or reference.field == "state":
        return ExprType.STRING
    if reference.root == "inputs":
        return scope.inputs.get(reference.name, ExprType.ANY)
    if reference.field == "artifacts":
        return ExprType.OBJECT
    step = scope.steps.get(reference.name)
    outputs = step.outputs if step is not None else None
    return (outputs or {}).get(reference.item, ExprType.ANY)


def check_limits(text: str) -> list[Issue]:
    """What an expression may not have, whatever it reads."""
    if len(text) > MAX_LENGTH:
        return [Issue(f"the expression has {len(text)} characters, {MAX_LENGTH} at most", 0, "compute it in a step")]
    count, deepest = macro_nesting(tokenize(text))
    issues: list[Issue] = []
    if deepest > MAX_MACRO_NESTING:
        issues.append(
            Issue(f"macros (map, filter, all, exists) stand {deepest} deep, {MAX_MACRO_NESTING} at most", 0, _IN_A_STEP)
        )
    if count > MAX_MACROS:
        issues.append(Issue(f"{count} macros (map, filter, all, exists), {MAX_MACROS} at most", 0, _IN_A_STEP))
    return issues


_IN_A_STEP = "work on large lists in a step"


def _missing(found: Found, text: str, scope: Scope) -> Issue | None:  # noqa: PLR0911 - one for each kind of name
    """The issue of a reference that reads what does not exist."""
    reference, at = found.reference, found.start
    if reference.root in ITEM_ROOTS:
        return None
    if reference.root == "run":
        if reference.name in RUN_FIELDS:
            return None
        return Issue(f"a run has no '{reference.name}'", at, did_you_mean(reference.name, RUN_FIELDS, what="it has"))
    if reference.root == "inputs":
        if reference.name in scope.inputs:
            return None
        hint = did_you_mean(reference.name, scope.inputs, what="inputs")
        return Issue(f"unknown input '{reference.name}'", at, hint)
    step = scope.steps.get(reference.name)
    if reference.name == scope.here:
        return Issue(f"step '{scope.here}' reads itself", at, "an expression reads the steps before its own")
    if step is None:
        others = [name for name in scope.steps if name != scope.here]
        return Issue(f"unknown step '{reference.name}'", at, did_you_mean(reference.name, others, what="steps"))
    if reference.field == "outputs" and step.outputs is not None and reference.item not in step.outputs:
        hint = did_you_mean(reference.item, step.outputs, what="outputs")
        return Issue(_unknown("output", reference, step), at, hint)
    if reference.field == "artifacts":
        if step.artifacts is not None and reference.item not in step.artifacts:
            hint = did_you_mean(reference.item, step.artifacts, what="artifacts")
            return Issue(_unknown("artifact", reference, step), at, hint)
        return _unknown_field(found, text)
    return _impossible_state(found, text) if reference.field == "state" else None


def _unknown(what: str, reference: Reference, step: StepScope) -> str:
    origin = f" ({step.origin})" if step.origin else ""
    return f"step '{reference.name}' has no {what} '{reference.item}'{origin}"


def _unknown_field(found: Found, text: str) -> Issue | None:
    match = _RUNS_FIELDS.match(text, found.end)
    if match is None or match.group(1) in ARTIFACT_FIELDS:
        return None
    hint = did_you_mean(match.group(1), ARTIFACT_FIELDS, what="it has")
    return Issue(f"an artifact has no '{match.group(1)}'", match.start(1), hint)


def _impossible_state(found: Found, text: str) -> Issue | None:
    """A comparison with a word that no state has would be false for ever, silently."""
    match = re.compile(r"\s*[!=]=\s*(['\"])(\w*)\1").match(text, found.end)
    if match is None or match.group(2) in [str(s) for s in StepState]:
        return None
    hint = did_you_mean(match.group(2), [str(s) for s in StepState], what="states")
    return Issue(f"a step has no state '{match.group(2)}'", match.start(2), hint)


def _disagreements(text: str, found: list[Found]) -> list[Issue]:
    """Whether the checker reads the same names as our own finding, on which the plan stands.

    The check passed with no other names declared than we found, so the checker reads no more than those. That it
    reads each of them shows when it is not declared: it must then be missed. A report names twenty at most.
    """
    unseen: dict[str, Found] = {str(f.reference): f for f in found}
    seen: dict[str, ExprType] = {}
    while unseen:
        missed: list[str] = []
        try:
            compile_checked(text, seen)
        except CompileFailed as failure:
            missed = [m.group(1) + "." for i in failure.issues if (m := _UNDECLARED.search(i.raw))]
        read: set[str] = {name for name in unseen if any(m.startswith(f"{name}.") for m in missed)}
        if not read:
            break
        seen |= dict.fromkeys(read, ExprType.ANY)
        unseen = {name: f for name, f in unseen.items() if name not in read}
    return [
        Issue(f"'{name}' is not read as it stands", f.start, "give your own names other words")
        for name, f in unseen.items()
    ]


_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
