"""What a run would do, as far as that is known before it runs: which steps, with which values.

It is the run's own code that works the values out: a step is resolved as in a run, with what cannot be known taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.references import Reference, references
from workflows.expressions.templates import parse_template, walk_strings
from workflows.messages import ResolvedStep, ResolveStep, StepView
from workflows.outcome import StepState
from workflows.plan import plan_step
from workflows.resolve import resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Foreach, Step
from workflows.values import JsonObject, JsonValue


class What(StrEnum):
    """What becomes of a step: `UNKNOWN` is decided while the run goes on, `FAIL` is a failure before it begins."""

    RUN = "run"
    SKIP = "skip"
    CACHED = "cached"
    UNKNOWN = "unknown"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A step before anything runs.

    Attributes:
        why: it is skipped or fails, or what its running depends on.
        resolved: its known values.
        parameters: those whose values are not known, with the text that gives them.
        artifacts: the same of artifacts.
        items: of a fan-out; None: not known, or no fan-out.
    """

    what: What
    why: str = ""
    resolved: ResolvedStep = field(default_factory=ResolvedStep)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    artifacts: Mapping[str, str] = field(default_factory=dict[str, str])
    items: int | None = None

    @property
    def certain(self) -> bool:
        """Whether all that decides what runs is known."""
        return self.what is What.RUN and not self.parameters and not self.artifacts


def foresee(
    definition: MetaWorkflow,
    name: str,
    inputs: JsonObject,
    views: Mapping[str, StepView],
    open_: frozenset[str] = frozenset(),
) -> Foreseen:
    """Look ahead at one of the steps of a definition.

    Args:
        definition: as a run would be started with.
        name: of the step.
        inputs: checked, with defaults.
        views: of the steps whose end is certain: those that are skipped, and those that are not run for their earlier
            success.
        open_: the steps of which it is not known whether they run.
    """
    step, planned = definition.steps[name], plan_step(definition, name)
    for needed in planned.dependencies:
        view = views.get(needed)
        if view is not None and view.state is StepState.SKIPPED and needed not in planned.decides_for:
            return Foreseen(What.SKIP, f"needs {needed}, which is skipped")
    known, parameters, artifacts = _known_part(step, views)
    found = Foreseen(What.RUN, parameters=parameters, artifacts=artifacts)
    trimmed = definition.model_copy(update={"steps": {**definition.steps, name: known}})
    message = ResolveStep(meta_run="", definition=trimmed, step=name, inputs=inputs, steps=dict(views))
    try:
        resolved = resolve_step(message)
    except (ExpressionFailed, InputsInvalid) as error:
        return replace(found, what=What.FAIL, why=error.message + (f" ({error.hint})" if error.hint else ""))
    if resolved.skip_reason:
        return Foreseen(What.SKIP, resolved.skip_reason)
    found = replace(found, resolved=resolved, items=None if resolved.items is None else len(resolved.items))
    if step.when is not None and known.when is None:
        return replace(found, what=What.UNKNOWN, why=f"when {step.when}")
    waits = [d for d in planned.dependencies if d in open_ and d not in planned.decides_for]
    if waits:
        return replace(found, what=What.UNKNOWN, why=f"if {', '.join(waits)} {'runs' if len(waits) == 1 else 'run'}")
    return found


def _known_part(step: Step, views: Mapping[str, StepView]) -> tuple[Step, dict[str, str], dict[str, str]]:
    """The step without what reads what is not known, and the text of that: of parameters and of artifacts."""
    parameters: JsonObject = {}
    artifacts: dict[str, str] = {}
    later: dict[str, str] = {}
    later_artifacts: dict[str, str] = {}
    by_item = step.foreach is not None  # worked out item by item, in the run
    for name, value in step.parameters.items():
        if not by_item and all(_is_known(text, views) for _, text in walk_strings(value)):
            parameters[name] = value
        else:
            later[name] = _text(value)
    for name, text in step.artifacts.items():
        if not by_item and _is_known(text, views):
            artifacts[name] = text
        else:
            later_artifacts[name] = text
    changes: dict[str, object] = {"parameters": parameters, "artifacts": artifacts, "needs": []}
    if step.when is not None and not _reads_known(step.when, views):
        changes["when"] = None
    if step.foreach is not None and not _foreach_known(step.foreach, views):
        changes["foreach"] = None
    return step.model_copy(update=changes), later, later_artifacts


def _foreach_known(foreach: Foreach, views: Mapping[str, StepView]) -> bool:
    value = foreach.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return all(_is_known(text, views) for _, text in walk_strings(value))


def _is_known(text: str, views: Mapping[str, StepView]) -> bool:
    return all(_reads_known(embedded.text, views) for embedded in parse_template(text).expressions)


def _reads_known(expression: str, views: Mapping[str, StepView]) -> bool:
    return all(_known(reference, views) for reference in references(expression))


def _known(reference: Reference, views: Mapping[str, StepView]) -> bool:
    match reference.root:
        case "inputs":
            return True
        case "steps":
            return reference.name in views
        case "run":
            return reference.name == "workflow"
        case _:
            return False


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else str(value)
