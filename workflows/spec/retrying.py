"""Whether what a step says about trying again and about its end makes sense."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.errors import Problem
from workflows.expressions.retry_on import check_retry_on
from workflows.outcome import FailureClass, StepKind
from workflows.spec.conditions import check_condition
from workflows.spec.locate import Locator, Path
from workflows.spec.steps import Step

A_KIND = {
    StepKind.ARGO: "a run of Argo",
    StepKind.KFP: "a run of KFP",
    StepKind.APPROVAL: "an approval",
    StepKind.WAIT: "a wait",
    StepKind.WORKFLOW: "a meta-workflow",
    StepKind.ACTIVITY: "an activity",
}
"""What a step runs, in messages."""


def check_retry(at: Path, step: Step, locate: Locator) -> Iterator[Problem]:
    """Problems of `retry`, `onLost` and `cancelGrace` of what stands at a place."""
    on = step.retry.retry_on
    if isinstance(on, str):
        yield from check_condition((*at, "retry", "retryOn"), on, check_retry_on, locate)
    if step.retry.attempts == 1:
        hint = "give retry.attempts: every attempt counts, the first too"
        if on is not None:
            yield locate.problem(
                (*at, "retry", "retryOn"), "there is one attempt, so nothing is tried again", hint=hint
            )
        if step.on_lost == "restart":
            yield locate.problem((*at, "onLost"), "there is one attempt, so a lost run is not run again", hint=hint)
    if (
        isinstance(on, list)
        and FailureClass.LOST in on
        and step.on_lost == "fail"
        and "on_lost" in step.model_fields_set
    ):
        yield locate.problem((*at, "onLost"), "onLost says fail, retryOn has lost", hint="leave one of them out")
    if step.retry.strategy != "restart" and step.engine_kind is None:
        hint = "leave the strategy out: every attempt begins anew"
        message = f"only an engine's run can be resumed, and this is {A_KIND[step.kind]}"
        yield locate.problem((*at, "retry", "strategy"), message, hint=hint)
    if step.cancel_grace is not None and step.argo is None:
        is_kfp = step.kfp is not None
        hint = "leave it out" + (": KFP's terminate ends a run at once" if is_kfp else "")
        yield locate.problem((*at, "cancelGrace"), "only Argo knows a stop that runs exit handlers", hint=hint)
