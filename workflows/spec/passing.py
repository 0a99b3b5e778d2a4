"""Whether a step passes what its manifest takes, and declares what its manifest gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from workflows.errors import Problem
from workflows.expressions.templates import walk_strings
from workflows.expressions.types import ExprType, fits, of_declared
from workflows.manifests import (
    ManifestInfo,
    Parameter,
    argo_text,
    definition_name,
    engine_name,
    kfp_artifact_parameter,
)
from workflows.outcome import EngineKind
from workflows.spec.locate import Locator, Path
from workflows.spec.steps import Step
from workflows.suggest import did_you_mean
from workflows.trace import TRACEPARENT
from workflows.values import JsonValue, ValueType


def check_passing(
    at: Path, step: Step, manifest: ManifestInfo, types: Mapping[str, ExprType], locate: Locator
) -> Iterator[Problem]:
    """Compare a step with what its manifest declares.

    Args:
        at: where the step stands.
        step: what passes parameters and artifacts.
        manifest: of a file that it runs.
        types: of its parameters' values, by name.
        locate: where things stand.
    """
    file = step.files.get(manifest.kind, "")
    parameters, artifacts = manifest.parameters, manifest.artifacts
    if parameters is not None and artifacts is not None:
        carried = (
            {a: kfp_artifact_parameter(a, parameters) for a in step.artifacts}
            if manifest.kind is EngineKind.KFP
            else {}
        )
        yield from _parameters(at, step, manifest.kind, parameters, types, carried=set(carried.values()), locate=locate)
        if manifest.kind is EngineKind.KFP:
            yield from _carried(at, file, carried, parameters, locate)
        else:
            yield from _artifacts(at, file, step, artifacts, locate)
    for output in step.outputs:
        if manifest.outputs is not None and engine_name(output, manifest.outputs) not in manifest.outputs:
            hint = did_you_mean(output, map(definition_name, manifest.outputs), what="outputs")
            yield locate.problem((*at, "outputs", output), f"{file} has no output '{output}'", hint=hint, key=True)


def _parameters(
    at: Path,
    step: Step,
    kind: EngineKind,
    declared: Mapping[str, Parameter],
    types: Mapping[str, ExprType],
    *,
    carried: Collection[str],
    locate: Locator,
) -> Iterator[Problem]:
    file = step.files.get(kind, "")
    given = {engine_name(p, declared): p for p in step.parameters}
    for engine, parameter in given.items():
        path = (*at, "parameters", parameter)
        if engine not in declared:
            hint = did_you_mean(parameter, map(definition_name, declared), what="parameters")
            yield locate.problem(path, f"{file} has no parameter '{parameter}'", hint=hint, key=True)
        elif engine in carried:
            message = f"parameter '{parameter}' is passed twice: an artifact is passed in it too"
            yield locate.problem(path, message, key=True)
        elif (wanted := declared[engine].type) is not None and not _fits(
            step.parameters[parameter], types.get(parameter, ExprType.ANY), wanted
        ):
            message = f"parameter '{parameter}' of {file} takes {of_declared(wanted)}, this is {types[parameter]}"
            hint = {ValueType.STRING: "write string(x)", ValueType.INTEGER: "write int(x)"}.get(wanted, "")
            yield locate.problem(path, message, hint=hint if types[parameter] in _SCALARS else "")
        elif (value := step.parameters[parameter]) is not None and _is_refused(value, declared[engine], kind):
            allowed = [argo_text(choice) for choice in declared[engine].choices]
            message = f"parameter '{parameter}' of {file} cannot be {argo_text(value)}"
            hint = did_you_mean(argo_text(value), allowed, what="its values")
            yield locate.problem(path, message, hint=hint)
    for engine, parameter in declared.items():
        if parameter.required and engine not in given and engine not in carried and engine != TRACEPARENT:
            where = (*at, "parameters") if step.parameters else at
            message = f"{file} needs parameter '{definition_name(engine)}', which has no default"
            yield locate.problem(where, message, hint="pass it under 'parameters'" + _as_artifact(engine), key=True)


_SCALARS = (ExprType.NUMBER, ExprType.INTEGER, ExprType.BOOLEAN)


def _as_artifact(parameter: str) -> str:
    if not parameter.endswith("_uri"):
        return ""
    return f", or artifact '{definition_name(parameter).removesuffix('_uri')}' under 'artifacts'"


def _is_refused(value: JsonValue, declared: Parameter, kind: EngineKind) -> bool:
    """Whether a literal is none of a parameter's choices; what expressions give is seen when the run is submitted."""
    if not declared.choices or any("${{" in text for _, text in walk_strings(value)):
        return False
    return (argo_text(value) if kind is EngineKind.ARGO else value) not in declared.choices


def _fits(value: JsonValue, found: ExprType, wanted: ValueType) -> bool:
    if isinstance(value, float) and wanted is ValueType.INTEGER:
        return value.is_integer()
    return fits(found, wanted)


def _carried(
    at: Path, file: str, carried: Mapping[str, str], declared: Mapping[str, Parameter], locate: Locator
) -> Iterator[Problem]:
    for artifact, parameter in carried.items():
        path = (*at, "artifacts", artifact)
        if parameter not in declared:
            hint = did_you_mean(
                artifact, (definition_name(d).removesuffix("_uri") for d in declared), what="parameters"
            )
            message = f"{file} has no parameter '{artifact}_uri' or '{artifact}' to pass the artifact in"
            yield locate.problem(path, message, hint=hint or "KFP imports an artifact by a URI parameter", key=True)
        elif declared[parameter].type not in (ValueType.STRING, None):
            message = f"parameter '{parameter}' of {file} takes no string, so no artifact's URI"
            yield locate.problem(path, message, key=True)


def _artifacts(at: Path, file: str, step: Step, declared: Mapping[str, bool], locate: Locator) -> Iterator[Problem]:
    given = {engine_name(a, declared): a for a in step.artifacts}
    for engine, artifact in given.items():
        if engine not in declared:
            hint = did_you_mean(artifact, map(definition_name, declared), what="artifacts")
            message = f"{file} has no input artifact '{artifact}' under spec.arguments"
            yield locate.problem((*at, "artifacts", artifact), message, hint=hint, key=True)
    for engine, required in declared.items():
        if required and engine not in given:
            where = (*at, "artifacts") if step.artifacts else at
            message = f"{file} needs artifact '{definition_name(engine)}'"
            yield locate.problem(where, message, hint="pass it under 'artifacts'", key=True)
