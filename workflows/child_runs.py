"""The attempts of a step that runs another meta-workflow: each is a run of its own, a Temporal child workflow."""

from __future__ import annotations

import asyncio

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from workflows import calls, child_calls
from workflows.child_messages import PrepareChild
from workflows.children import run_child
from workflows.inputs import as_declared, most_outputs, size_of, type_mismatch
from workflows.messages import RunSnapshot, StepOutcome
from workflows.outcome import FailureClass
from workflows.retry import Action, policy_of
from workflows.spec.durations import format_duration
from workflows.spec.sources import WorkflowSource
from workflows.suggest import did_you_mean
from workflows.trying import message_of, until_success
from workflows.values import JsonObject
from workflows.work import End, Job, Progress


class ChildRuns:
    """Runs another meta-workflow for a step.

    Args:
        job: what.
        progress: hears of it.
    """

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress
        self._step = job.step
        self._policy = policy_of(job.step)

    async def run(self) -> End:
        """Start runs until one succeeds, or the policy gives up.

        Raises:
            asyncio.CancelledError: cancelled, and the run that was under way has ended.
        """
        return await until_success(self._job, self._policy, self._progress, self._attempt)

    async def _attempt(self, number: int, _: Action) -> StepOutcome:
        timeout = self._step.attempt_timeout
        words = f"Time-out of attempt {number} of {self._job.title}"
        try:
            return await calls.limited(timeout, self._child(number), words, named=self._job.origin.named_timers)
        except TimeoutError:
            assert timeout is not None
            message = f"not done within {format_duration(timeout)}"
            return StepOutcome(failure=FailureClass.TIMED_OUT, message=message)

    async def _child(self, number: int) -> StepOutcome:
        source = self._step.source
        assert isinstance(source, WorkflowSource)  # `doing` sends nothing else here
        try:
            child = await child_calls.prepare_child(
                PrepareChild(
                    origin=self._job.origin,
                    workflow=source.name,
                    step=self._job.name,
                    index=self._job.index,
                    attempt=number,
                    resolved=self._job.resolved,
                )
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            return StepOutcome(failure=FailureClass.REJECTED, message=message_of(error))
        try:
            ended = await run_child(child, self._progress.child)
        except WorkflowAlreadyStartedError:
            message = f"a run {child.id} was started before, by an execution of this run that was reset"
            return StepOutcome(failure=FailureClass.REJECTED, message=message)
        except ChildWorkflowError as error:
            this = asyncio.current_task()
            if is_cancelled_exception(error) and this is not None and this.cancelling():
                raise asyncio.CancelledError from error
            return failed_child(child.id, error)
        return self._succeeded(ended)

    def _succeeded(self, ended: RunSnapshot) -> StepOutcome:
        outputs: JsonObject = dict(ended.outputs)
        for name, declared in self._step.outputs.items():
            if name not in outputs:
                hint = did_you_mean(name, outputs, what="outputs")
                return _refused(ended.id, f"gave no output '{name}', which the step declares; {hint}".rstrip("; "))
            if (fault := type_mismatch(outputs[name], declared)) is not None:
                return _refused(ended.id, f"gave output '{name}': {fault}")
            outputs[name] = as_declared(outputs[name], declared)
        if (size := size_of(outputs)) > (most := most_outputs(self._job.index)):
            words = f"gave {size // 1024} KB of outputs, the limit of {self._job.title} is {most // 1024} KB"
            return _refused(ended.id, words)
        return StepOutcome(outputs=outputs, started_at=ended.started_at, finished_at=ended.finished_at)


def failed_child(run_id: str, error: ChildWorkflowError) -> StepOutcome:
    """What a step makes of a run that did not succeed."""
    cause = error.cause
    if isinstance(cause, CancelledError):
        return StepOutcome(failure=FailureClass.CANCELLED, message=f"run {run_id} was cancelled")
    if isinstance(cause, TerminatedError):
        return StepOutcome(failure=FailureClass.LOST, message=f"run {run_id} was terminated in Temporal")
    if isinstance(cause, TemporalTimeoutError):
        return StepOutcome(failure=FailureClass.TIMED_OUT, message=f"run {run_id} timed out in Temporal")
    why = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    return StepOutcome(failure=FailureClass.FAILED, message=f"run {run_id} failed: {why}")


def _refused(run_id: str, words: str) -> StepOutcome:
    return StepOutcome(failure=FailureClass.REJECTED, message=f"run {run_id} {words}")
