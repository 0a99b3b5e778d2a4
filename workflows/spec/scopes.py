"""What the expressions of a definition can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workflows.expressions.check import Scope, StepScope
from workflows.expressions.types import ExprType, common, list_of, of_declared
from workflows.expressions.variables import OUTCOME
from workflows.manifests import ManifestInfo, definition_names
from workflows.outcome import EngineKind, StepKind
from workflows.spec.models import Input, MetaWorkflow
from workflows.spec.steps import Step

Manifests = Mapping[str, Sequence[ManifestInfo]]
"""What the files declare that something runs, by its name (`MetaWorkflow.step`): with a use case there can be two."""

APPROVAL_OUTPUTS = {
    "approved": ExprType.BOOLEAN,
    "by": ExprType.STRING,
    "at": ExprType.STRING,
    "reason": ExprType.STRING,
    "digest": ExprType.STRING,
}
TIME_OUTPUTS = {"time": ExprType.STRING}
EVENT_OUTPUTS = {"event": ExprType.OBJECT, "subject": ExprType.STRING, **TIME_OUTPUTS}


def scope_of(definition: MetaWorkflow, manifests: Manifests) -> Scope:
    """What there is to read in a definition; from where, `of_steps` and its like say."""
    steps = {**definition.steps, **definition.finally_}
    return Scope(
        inputs={name: _input_type(i) for name, i in definition.inputs.items()},
        steps={name: _step_scope(name, step, manifests.get(name, ())) for name, step in steps.items()},
    )


def of_steps(scope: Scope, definition: MetaWorkflow) -> Scope:
    """What steps read, and the outputs of the run."""
    hint = "read it in another step of 'finally'"
    reason = "is a step of 'finally', which begins when all steps have ended"
    hidden = {name: (f"'{name}' {reason}", hint) for name in definition.finally_ if name not in definition.steps}
    return replace(scope, hidden=hidden)


def of_finally(scope: Scope) -> Scope:
    """What steps of `finally` read: every step, and how they came out."""
    return replace(scope, variables=OUTCOME)


def of_compensation(scope: Scope, name: str, readable: set[str]) -> Scope:
    """What a compensation reads: its own step, those before it, and why it runs.

    Args:
        scope: of the definition.
        name: of the step that is taken back.
        readable: steps that have surely ended before that step began.
    """
    reason = f"may not have run when step '{name}' is taken back"
    hidden = {
        other: (f"step '{other}' {reason}", f"a compensation reads its own step and those before it: needs of '{name}'")
        for other in scope.steps
        if other != name and other not in readable
    }
    return replace(scope, variables=OUTCOME, hidden=hidden)


def _input_type(declared: Input) -> ExprType:
    nullable = not declared.is_required and declared.default is None
    return ExprType.ANY if nullable else of_declared(declared.type)


def _step_scope(name: str, step: Step, manifests: Sequence[ManifestInfo]) -> StepScope:
    once = _of_kind(name, step, manifests)
    if step.foreach is None:
        return once
    has_gaps = bool(step.continue_on)
    outputs = once.outputs and {o: ExprType.LIST if has_gaps else list_of(t) for o, t in once.outputs.items()}
    return replace(once, outputs=outputs, fans_out=True, has_gaps=has_gaps)


def _of_kind(name: str, step: Step, manifests: Sequence[ManifestInfo]) -> StepScope:
    if step.kind is StepKind.APPROVAL:
        return StepScope(APPROVAL_OUTPUTS, frozenset(), "it is an approval")
    if step.kind is StepKind.WAIT:
        is_event = step.wait is not None and step.wait.event is not None
        return StepScope(EVENT_OUTPUTS if is_event else TIME_OUTPUTS, frozenset(), "it is a wait")
    return _with_manifests(name, step, manifests)


def _with_manifests(name: str, step: Step, manifests: Sequence[ManifestInfo]) -> StepScope:
    """Of the files that it may run every one must give what is read."""
    declared = {output: of_declared(type_) for output, type_ in step.outputs.items()}
    names = [
        set(definition_names(dict.fromkeys(m.output_artifacts, 0))) for m in manifests if m.output_artifacts is not None
    ]
    artifacts = frozenset[str].intersection(*map(frozenset, names)) if names else None
    found = [_outputs(m) for m in manifests if m.outputs is not None]
    if not found:
        # Nothing but the declaration tells what there is; where it is, it must be complete, so that slips are found.
        return StepScope(declared or None, artifacts, f"not under steps.{name}.outputs" if declared else "")
    first, *others = found
    types = {o: common([t, *(other[o] for other in others)]) for o, t in first.items() if all(o in x for x in others)}
    files = [step.files[m.kind] for m in manifests if m.outputs is not None and m.kind in step.files]
    origin = f"{files[0]} declares none" if len(files) == 1 else f"not in both {' and '.join(files)}"
    return StepScope({**types, **declared}, artifacts, origin)


def _outputs(manifest: ManifestInfo) -> dict[str, ExprType]:
    untyped = ExprType.STRING if manifest.kind is EngineKind.ARGO else ExprType.ANY
    return {
        output: of_declared(type_) if type_ is not None else untyped
        for output, type_ in definition_names(manifest.outputs or {}).items()
    }
