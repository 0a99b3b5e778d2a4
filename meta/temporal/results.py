"""What a call gives back, and how it fails."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from temporalio.exceptions import ApplicationError

from workflows.messages import Decision, RunSnapshot, StepSnapshot
from workflows.outcome import Artifact, RunState, StepState
from workflows.values import JsonObject

META_RUN_FAILED = "META_RUN_FAILED"
"""Type of the ApplicationError of a run that did not succeed. Its detail: run_id, state, step, step_state, message."""

META_REJECTED = "META_REJECTED"
"""Type of the ApplicationError of an approval that was rejected. Its detail has `by`, `at` and `reason` too."""


class Result(BaseModel):
    """A run that has succeeded.

    Attributes:
        outputs: of the step, or of the whole meta-workflow.
        artifacts: of the step by name; of a meta-workflow by `step.name`.
        decision: of an approval: who, when, why.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: RunState
    outputs: dict[str, Any] = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    decision: Decision | None = None


def result_of(run: RunSnapshot, step: str) -> Result:
    """The result of a run that has ended.

    Args:
        run: the whole of it.
        step: name of its only step; empty for a meta-workflow that somebody published.

    Raises:
        ApplicationError: it did not succeed.
    """
    if run.state is not RunState.SUCCEEDED:
        raise _failure(run)
    if not step:
        artifacts = {f"{one.name}.{name}": a for one in run.steps for name, a in one.artifacts.items()}
        return Result(run_id=run.id, state=run.state, outputs=run.outputs, artifacts=artifacts)
    only = next(one for one in run.steps if one.name == step)
    return Result(
        run_id=run.id, state=run.state, outputs=only.outputs, artifacts=only.artifacts, decision=only.decision
    )


def _failure(run: RunSnapshot) -> ApplicationError:
    step = next((one for one in run.steps if _failed(one)), None)
    detail: JsonObject = {"run_id": run.id, "state": run.state.value, "message": run.message}
    kind, message = META_RUN_FAILED, run.message
    if step is not None:
        detail |= {"step": step.name, "step_state": step.state.value, "message": step.message or run.message}
        message = step.message or run.message
        if step.decision is not None and not step.decision.approved:
            detail |= {k: v for k, v in step.decision.model_dump(mode="json").items() if k in ("by", "at", "reason")}
            kind = META_REJECTED
    words = f"run {run.id} {run.state.value}: {message or 'no message'} (`meta get {run.id}` shows it)"
    return ApplicationError(words, detail, type=kind, non_retryable=True)


def _failed(step: StepSnapshot) -> bool:
    ended_well = (StepState.PENDING, StepState.RUNNING, StepState.SUCCEEDED, StepState.SKIPPED)
    return step.state not in ended_well and not step.continued
