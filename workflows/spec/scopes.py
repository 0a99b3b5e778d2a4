"""What the expressions of a definition can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from workflows.expressions.check import Scope, StepScope
from workflows.expressions.types import ExprType, of_declared
from workflows.manifests import ManifestInfo, definition_names
from workflows.outcome import EngineKind
from workflows.spec.models import Input, MetaWorkflow
from workflows.spec.steps import Step


def scope_of(definition: MetaWorkflow, manifests: Mapping[str, ManifestInfo]) -> Scope:
    """What expressions of a definition can read."""
    return Scope(
        inputs={name: _input_type(i) for name, i in definition.inputs.items()},
        steps={
            name: _listed(step, _step_scope(name, step, manifests.get(name))) for name, step in definition.steps.items()
        },
    )


def _input_type(declared: Input) -> ExprType:
    nullable = not declared.is_required and declared.default is None
    return ExprType.ANY if nullable else of_declared(declared.type)


def _listed(step: Step, scope: StepScope) -> StepScope:
    """A fan-out's outputs are lists, one value for each item."""
    if step.foreach is None or scope.outputs is None:
        return scope
    return replace(scope, outputs=dict.fromkeys(scope.outputs, ExprType.LIST))


def _step_scope(name: str, step: Step, manifest: ManifestInfo | None) -> StepScope:
    declared = {output: of_declared(type_) for output, type_ in step.outputs.items()}
    if manifest is None or manifest.outputs is None:
        # Nothing but the declaration tells what there is; where it is, it must be complete, so that slips are found.
        artifacts = None if manifest is None or manifest.output_artifacts is None else manifest.output_artifacts
        return StepScope(declared or None, artifacts, f"not under steps.{name}.outputs" if declared else "")
    untyped = ExprType.STRING if manifest.kind is EngineKind.ARGO else ExprType.ANY
    found = {
        output: of_declared(type_) if type_ is not None else untyped
        for output, type_ in definition_names(manifest.outputs).items()
    }
    artifacts = (
        None
        if manifest.output_artifacts is None
        else frozenset(definition_names(dict.fromkeys(manifest.output_artifacts, True)))
    )
    return StepScope({**found, **declared}, artifacts, f"{step.file} declares none")
