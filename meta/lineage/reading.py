"""What a step of a run has read."""

from __future__ import annotations

from workflows.board import view_of
from workflows.errors import MetaError
from workflows.expressions.references import references
from workflows.messages import ResolveStep, RunSnapshot
from workflows.outcome import Artifact
from workflows.plan import step_expressions
from workflows.resolve import resolve_step
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject


def artifacts_read(definition: MetaWorkflow, run: RunSnapshot, step: str) -> list[Artifact]:
    """The artifacts that a step was given, and those that its parameters mention; each once, by its URI.

    They are those of their producers: where an engine could not read one, the copy that was made for it counts as it.
    """
    given = [*_declared(definition, run, step), *_mentioned(definition, run, step)]
    return list({artifact.uri: artifact for artifact in reversed(given)}.values())[::-1]


def _declared(definition: MetaWorkflow, run: RunSnapshot, step: str) -> list[Artifact]:
    """Expressions are evaluated again: their results are in the history alone."""
    views = {one.name: view_of(one) for one in run.steps if one.state.ended}
    message = ResolveStep(
        meta_run=run.id,
        definition=definition,
        step=step,
        inputs=run.inputs,
        steps=views,
        outcome=_outcome(run),
    )
    try:
        return list(resolve_step(message).artifacts.values())
    except (MetaError, KeyError):  # the store was not told of a step before it; the step itself has run
        return []


def _outcome(run: RunSnapshot) -> JsonObject:
    """As near as the store knows what a compensation or a step of `finally` was told; no artifact hangs on it."""
    return {"state": run.state.value, "message": run.message, "failed_step": ""}


def _mentioned(definition: MetaWorkflow, run: RunSnapshot, step: str) -> list[Artifact]:
    steps = {one.name: one for one in run.steps}
    found = {
        reference
        for text in step_expressions(definition.step(step))
        for reference in references(text)
        if reference.field == "artifacts" and reference.name in steps
    }
    return [steps[one.name].artifacts[one.item] for one in sorted(found) if one.item in steps[one.name].artifacts]
