"""The expressions of a step, evaluated together in a local activity whose result is recorded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.cel import CompileFailed, Program, ValueMissing
from workflows.expressions.promote import compile_expression
from workflows.expressions.references import ITEM, ITEM_ROOTS, WHOLE_FIELDS, Reference, find_references, references
from workflows.expressions.templates import as_text, parse_template, render_value, walk_strings
from workflows.expressions.types import ExprType, of_declared, of_items, of_value
from workflows.expressions.variables import fields_of_item
from workflows.foreach_items import items_of
from workflows.inputs import as_declared, show, size_of, type_mismatch
from workflows.manifests.names import definition_names, engine_name
from workflows.messages import ResolvedStep, ResolveOutputs, ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.plan import PlannedStep, plan_step
from workflows.resolve_kinds import what_its_kind_says
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Step
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue, ValueType

MAX_PARAMETERS = 256 * 1024
"""Most bytes of JSON that a step's parameters may have together."""

MAX_SHARED = 64 * 1024
"""Bytes of JSON of what the items of a fan-out read beside `item` and `index`."""

_URI = re.compile(r"[a-z][a-z0-9+.-]*://\S+")


def resolve_step(message: ResolveStep) -> ResolvedStep:
    """Decide whether a step runs, and with what.

    Raises:
        ExpressionFailed: an expression reads what is not there, or cannot be computed.
        InputsInvalid: the parameters are too large.
    """
    values = Values(message)
    step = message.definition.step(message.step)
    planned = plan_step(message.definition, message.step)
    if reason := _unmet(planned, message.steps):
        return ResolvedStep(skip_reason=reason)
    if step.when is not None:
        with_place = values.at(f"step '{message.step}', when")
        runs = with_place(step.when)
        if not isinstance(runs, bool):
            raise ExpressionFailed(
                f"step '{message.step}', when: '{step.when}' gives {show(runs)}, not true or false",
                hint="compare it with something",
            )
        if not runs:
            return ResolvedStep(skip_reason=f"when is false: {step.when}")
    if step.foreach is not None:
        items = items_of(message.step, step.foreach, values.at)
        return ResolvedStep(items=items, variables=_shared_by_items(message.step, step, values) if items else {})
    parameters: JsonObject = {}
    for name, value in step.parameters.items():
        parameters[name] = render_value(value, values.at(f"step '{message.step}', parameter '{name}'"))
    _limit(message.step, parameters)
    artifacts = {
        name: artifact_of(name, render_value(text, values.at(place)), place)
        for name, text in step.artifacts.items()
        for place in (f"step '{message.step}', artifact '{name}'",)
    }
    key = render_cache_key(step, values.at(f"step '{message.step}', cache.key"))
    resolved = ResolvedStep(parameters=parameters, artifacts=artifacts, cache_key=key)
    return resolved.model_copy(update=what_its_kind_says(message.step, step, values.at))


def render_cache_key(step: Step, evaluate: Callable[[str], JsonValue]) -> str:
    """The text of `cache.key`; empty when there is none."""
    key = step.caching.key if step.caching is not None else None
    return "" if key is None else as_text(render_value(key, evaluate))


def resolve_outputs(message: ResolveOutputs) -> JsonObject:
    """The outputs of the definition.

    One is null that reads an output or artifact which a step has not, because it was skipped, or failed and the run
    went on as if it had not.

    Raises:
        ExpressionFailed: as `resolve_step`.
    """
    values = Values(message)
    outputs: JsonObject = {}
    for name, text in message.definition.outputs.items():
        try:
            outputs[name] = render_value(text, values.at(f"output '{name}'"))
        except _Skipped:
            outputs[name] = None
    return outputs


def convert_outputs(step_name: str, declared: dict[str, ValueType], outputs: JsonObject) -> JsonObject:
    """Give outputs their declared types and the names that definitions use.

    Args:
        step_name: for messages.
        declared: the step's `outputs`.
        outputs: as the engine gave them, by its own names; Argo's values are strings.

    Returns:
        Every output; those that are not declared keep the engine's value.

    Raises:
        ExpressionFailed: a declared output is missing, or cannot be converted.
    """
    converted = definition_names(outputs)
    for name, type_ in declared.items():
        key = engine_name(name, outputs)
        if key not in outputs:
            raise ExpressionFailed(
                f"step '{step_name}' declares output '{name}', but its engine run gave none",
                hint=did_you_mean(name, converted, what="outputs"),
            )
        converted[name] = _convert(step_name, name, type_, outputs[key])
    return converted


def _convert(step: str, name: str, declared: ValueType, value: JsonValue) -> JsonValue:
    result = value
    if declared is ValueType.STRING:
        result = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    elif isinstance(value, str):
        try:
            result = json.loads(value.strip())
        except (ValueError, RecursionError):
            # Python's own spelling of the booleans, which steps in Python print.
            result = {"True": True, "False": False}.get(value.strip(), value)
    if declared is ValueType.INTEGER and isinstance(result, float) and math.isfinite(result) and result.is_integer():
        result = int(result)
    if (fault := type_mismatch(result, declared)) is not None:
        raise ExpressionFailed(
            f"step '{step}', output '{name}': {fault}" + (f" (from {show(value)})" if result != value else ""),
            hint=f"mend the step that writes it, or declare another type than {declared}",
        )
    return as_declared(result, declared)


def _unmet(planned: PlannedStep, steps: dict[str, StepView]) -> str:
    """Why a step must be skipped before anything of it is evaluated; empty when it need not."""
    for name in planned.dependencies:
        state = steps[name].state
        if state is not StepState.SUCCEEDED and not steps[name].continued and name not in planned.decides_for:
            return f"needs {name}, which {_STATE_WORDS.get(state, f'is {state}')}"
    return ""


_STATE_WORDS = {
    StepState.FAILED: "failed",
    StepState.LOST: "was lost",
    StepState.TIMED_OUT: "timed out",
    StepState.CANCELLED: "was cancelled",
    StepState.SKIPPED: "was skipped",
}


def _shared_by_items(name: str, step: Step, values: Values) -> JsonObject:
    """What the expressions of a fan-out's items read beside `item` and `index`, by qualified name.

    What cannot be read is left out: it may be that no item comes to it. So are lists that the store has.

    Raises:
        InputsInvalid: they are too large to go with each chunk of the fan-out.
    """
    texts = [*(text for _, text in walk_strings(step.parameters)), *step.artifacts.values()]
    if step.caching is not None and step.caching.key is not None:
        texts.append(step.caching.key)
    read = {r for text in texts for e in parse_template(text).expressions for r in references(e.text)}
    found = values.found(r for r in read if r.root not in ITEM_ROOTS)
    if (size := size_of(found)) > MAX_SHARED:
        largest = max(found, key=lambda each: size_of(found[each]))
        raise InputsInvalid(
            f"step '{name}': what its items read beside 'item' has {size:,} bytes, {MAX_SHARED:,} at most; "
            f"the largest is {largest}",
            hint="make it what the step runs over, or pass it as an artifact",
        )
    return found


def _limit(step: str, parameters: JsonObject) -> None:
    sizes = {name: size_of(value) for name, value in parameters.items()}
    total = sum(sizes.values())
    if total > MAX_PARAMETERS:
        largest = max(sizes, key=lambda name: sizes[name])
        raise InputsInvalid(
            f"step '{step}': its parameters have {total:,} bytes, {MAX_PARAMETERS:,} at most; "
            f"the largest is '{largest}' with {sizes[largest]:,}",
            hint="pass it as an artifact",
        )


def artifact_of(name: str, value: JsonValue, place: str) -> Artifact:
    if isinstance(value, str) and _URI.fullmatch(value):
        return Artifact(name=name, uri=value)
    if isinstance(value, dict) and isinstance(value.get("uri"), str):
        return Artifact.model_validate(value).model_copy(update={"name": name})
    raise ExpressionFailed(
        f"{place}: {show(value)} is neither an artifact nor a URI",
        hint="write ${{ steps.<step>.artifacts.<name> }} or s3://bucket/key",
    )


def _of_items(reference: Reference, step: StepView) -> list[JsonValue] | None:
    """Artifacts of a fan-out in the items' order; None when it has none of the name."""
    if reference.field == "artifacts" and reference.item in step.artifact_lists:
        lists = step.artifact_lists[reference.item]
        return [None if one is None else one.model_dump(mode="json") for one in lists]
    if step.items is not None and not step.items.total and step.state is StepState.SUCCEEDED:
        return []  # of no items: nobody knows which names there would have been
    return None


class _Skipped(ExpressionFailed):
    """An expression reads an output or artifact that is not there, of a step that the run goes on without."""


class Values:
    """What expressions can read, and their evaluation on it."""

    def __init__(self, message: ResolveStep | ResolveOutputs) -> None:
        self._definition: MetaWorkflow = message.definition
        self._inputs = message.inputs
        self._steps = message.steps
        self._run: JsonObject = {"id": message.meta_run, "workflow": message.definition.name}
        self._outcome = message.outcome if isinstance(message, ResolveStep) else None

    def at(self, place: str) -> Callable[[str], JsonValue]:
        """The evaluation of expressions that stand at a place, which errors name."""

        def evaluate(text: str) -> JsonValue:
            try:
                return self._evaluate(text)
            except ExpressionFailed as error:
                kind = _Skipped if isinstance(error, _Skipped) else ExpressionFailed
                raise kind(f"{place}: {error.message}", hint=error.hint) from error

        return evaluate

    def found(self, references: Iterable[Reference]) -> JsonObject:
        """Values by qualified name, of what there is to read here and now."""
        found: JsonObject = {}
        for reference in sorted(references):
            view = self._steps.get(reference.name) if reference.step is not None else None
            if view is not None and view.stored and reference.field not in WHOLE_FIELDS:
                continue
            try:
                found[str(reference)] = self._value(reference)
            except ExpressionFailed:
                continue
        return found

    def _evaluate(self, text: str) -> JsonValue:
        read = {f.reference for f in find_references(text)}
        values: JsonObject = {}
        absent: dict[str, ExpressionFailed] = {}
        for reference in sorted(read):
            try:
                values[str(reference)] = self._value(reference)
            except ExpressionFailed as error:
                # Only an error if it is read in the end: steps.a.state == 'succeeded' && steps.a.outputs.x > 1
                absent[str(reference)] = error
        types = {str(r): self._type(r, values.get(str(r))) for r in read}
        fields = fields_of_item(values.get(ITEM))
        values |= fields
        types |= {name: ExprType.ANY if value is None else of_value(value) for name, value in fields.items()}
        try:
            return self._compile(text, types).evaluate(values)
        except ValueMissing as missing:
            raise absent.get(missing.name, missing) from None
        except ExpressionFailed as error:
            raise ExpressionFailed(error.message, hint=self._declare_hint(error, types) or error.hint) from None

    def _declare_hint(self, error: ExpressionFailed, types: dict[str, ExprType]) -> str:
        """An operator that does not fit an undeclared string: most often one of Argo's outputs."""
        for name, type_ in types.items():
            is_output = name.startswith("steps.")
            if is_output and "applied to" in error.message and type_ is ExprType.STRING and not self._is_declared(name):
                _, step, _, output = name.split(".")
                return f"declare its type: steps.{step}.outputs: {{{output}: number}}"
        return ""

    def _compile(self, text: str, types: dict[str, ExprType]) -> Program:
        """Check on the types of the values at hand, so that integers beside numbers are promoted.

        What is not declared may be of a type that the checker refuses where CEL itself would compute (the branches
        of `?:`), so the second try leaves those types open, as validation did.
        """
        try:
            return compile_expression(text, types)
        except CompileFailed:
            declared = {name: t if self._is_declared(name) else ExprType.ANY for name, t in types.items()}
            return compile_expression(text, declared)

    def _is_declared(self, name: str) -> bool:
        if name.split(".", maxsplit=1)[0] in ITEM_ROOTS:
            return False
        root, first, *rest = name.split(".")
        if root == "inputs":
            return self._inputs.get(first) is not None
        return root in ("run", "outcome") or rest[0] != "outputs" or rest[1] in self._definition.step(first).outputs

    def _type(self, reference: Reference, value: JsonValue) -> ExprType:
        if reference.root == "inputs" and value is not None and reference.name in self._definition.inputs:
            return of_declared(self._definition.inputs[reference.name].type)
        if reference.field == "outputs" and value is None and reference.name in self._steps:
            declared = self._definition.step(reference.name).outputs.get(reference.item)
            return of_declared(declared) if declared is not None else ExprType.ANY
        if reference.field == "outputs" and isinstance(value, list) and self._fans_out(reference.name):
            return of_items(value)
        found = of_value(value)
        return ExprType.ANY if found is ExprType.NULL else found

    def _fans_out(self, name: str) -> bool:
        step = self._definition.steps.get(name) or self._definition.finally_.get(name)
        return step is not None and step.foreach is not None

    def _value(self, reference: Reference) -> JsonValue:  # noqa: PLR0911 -- one for each kind of name
        if reference.root in ITEM_ROOTS:
            raise ExpressionFailed(
                f"there is no '{reference}' here", hint="parameters and artifacts of a step with 'foreach' have it"
            )
        if reference.root == "run":
            if reference.name in self._run:
                return self._run[reference.name]
            raise ExpressionFailed(f"a run has no '{reference.name}'")
        if reference.root == "outcome":
            if self._outcome is not None and reference.name in self._outcome:
                return self._outcome[reference.name]
            raise ExpressionFailed(
                f"there is no 'outcome.{reference.name}'",
                hint="compensations and steps of 'finally' read outcome.state, outcome.message, outcome.failed_step",
            )
        if reference.root == "inputs":
            if reference.name in self._inputs:
                return self._inputs[reference.name]
            raise ExpressionFailed(f"there is no input '{reference.name}'")
        step = self._steps.get(reference.name)
        if step is None:
            raise ExpressionFailed(f"there is no step '{reference.name}'")
        if reference.field in WHOLE_FIELDS:
            return str(step.state) if reference.field == "state" else step.message
        if reference.field == "outputs" and reference.item in step.outputs:
            return step.outputs[reference.item]
        if reference.field == "artifacts" and reference.item in step.artifacts:
            return step.artifacts[reference.item].model_dump(mode="json")
        if step.items is not None and (found := _of_items(reference, step)) is not None:
            return found
        raise self._absent(reference, step)

    def _absent(self, reference: Reference, step: StepView) -> ExpressionFailed:
        what = reference.field.removesuffix("s")
        message = f"step '{reference.name}' has no {what} '{reference.item}'"
        if step.state is not StepState.SUCCEEDED:
            kind = _Skipped if step.state is StepState.SKIPPED or step.continued else ExpressionFailed
            return kind(
                f"{message}: it {_STATE_WORDS.get(step.state, f'is {step.state}')}",
                hint=f"test steps.{reference.name}.state first, as in: "
                f"steps.{reference.name}.state == 'succeeded' && ...",
            )
        known = step.outputs if reference.field == "outputs" else [*step.artifacts, *step.artifact_lists]
        return ExpressionFailed(message, hint=did_you_mean(reference.item, known, what=f"its {reference.field}"))
