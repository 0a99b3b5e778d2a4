"""A Temporal activity that somebody else's worker serves, attempt by attempt.

Temporal itself tries it once: attempts are counted by the step's own policy. There is nothing to resume, so each
attempt runs the activity anew.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)

from workflows import calls
from workflows.kind_messages import TakeResult
from workflows.messages import StepOutcome
from workflows.outcome import FailureClass
from workflows.retry import Action, policy_of
from workflows.spec.durations import format_duration
from workflows.spec.sources import ActivitySource
from workflows.trying import message_of, until_success
from workflows.values import JsonValue
from workflows.work import End, Job, Progress

LONGEST = timedelta(hours=24)
"""Limit of one attempt whose step gives none; Temporal wants one."""

CONFIRM = timedelta(seconds=60)
"""How long a worker may take to confirm that a cancelled activity has ended, beyond the heartbeat time-out."""


class ForeignRuns:
    """Runs a foreign activity until it succeeds or the policy gives up.

    Args:
        job: what.
        source: which activity, and where.
        progress: hears of it.
    """

    def __init__(self, job: Job, source: ActivitySource, progress: Progress) -> None:
        self._job = job
        self._source = source
        self._progress = progress
        self._policy = replace(policy_of(job.step), strategy="restart")
        self._limit = job.step.attempt_timeout or job.step.timeout or LONGEST

    async def run(self) -> End:
        """Bring it to an end.

        Raises:
            asyncio.CancelledError: cancelled, and the activity has ended, or its worker does not answer.
        """
        return await until_success(self._job, self._policy, self._progress, self._attempt)

    async def _attempt(self, number: int, _: Action) -> StepOutcome:
        started_at = workflow.now()
        try:
            result = await self._call(number)
        except ActivityError as error:
            outcome = self._failed(error)
        else:
            try:
                taken = TakeResult(
                    step=self._job.name,
                    result=result,
                    outputs=self._job.step.outputs,
                    key=self._job.key(number) if self._job.index else None,
                )
                outcome = StepOutcome(outputs=await calls.take_result(taken))
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                outcome = StepOutcome(failure=FailureClass.REJECTED, message=message_of(error))
        return outcome.model_copy(update={"started_at": started_at, "finished_at": workflow.now()})

    async def _call(self, number: int) -> JsonValue:
        words = self._job.title if number == 1 else f"attempt {number} of {self._job.title}"
        handle = calls.start_foreign(self._source, self._job.resolved.parameters, self._limit, words)
        try:
            return await asyncio.shield(handle)
        except asyncio.CancelledError:
            self._progress.says("cancelled: its activity is being ended")
            await calls.uninterrupted(self._ended(handle))
            raise

    async def _ended(self, handle: workflow.ActivityHandle[JsonValue]) -> None:
        """Cancel the activity and wait until its worker confirms the end, if there is a worker that does."""
        handle.cancel()
        patience = (self._source.heartbeat_timeout or timedelta(0)) + CONFIRM
        _, silent = await asyncio.wait([handle], timeout=patience.total_seconds())
        if silent:
            workflow.logger.warning("%s: its worker has not confirmed the end in %s", self._job.title, patience)
        else:
            handle.exception()  # seen: the cancellation counts

    def _failed(self, error: ActivityError) -> StepOutcome:
        """Whose fault it was, in words."""
        source, cause = self._source, error.cause
        failure, message = FailureClass.FAILED, str(cause or error)
        match cause:
            case ApplicationError():
                failure = FailureClass.REJECTED if cause.non_retryable else FailureClass.FAILED
                named = cause.type and cause.type not in ("ApplicationError", "Exception")
                message = f"{cause.type}: {cause.message}" if named else cause.message
            case TimeoutError(type=TimeoutType.SCHEDULE_TO_START):
                message = (
                    f"no worker of task queue {source.task_queue} took activity {source.name} within"
                    f" {format_duration(source.schedule_timeout)}; is one running, and does it have this activity?"
                )
            case TimeoutError(type=TimeoutType.HEARTBEAT):
                failure = FailureClass.LOST
                silence = format_duration(source.heartbeat_timeout or timedelta(0))
                message = f"no heartbeat for {silence}: its worker may have died, and its work may be done or not"
            case TimeoutError():
                failure = FailureClass.TIMED_OUT
                message = f"not done within {format_duration(self._limit)}"
            case CancelledError():
                failure, message = FailureClass.CANCELLED, "its worker, or somebody at Temporal, cancelled it"
            case _:
                pass
        return StepOutcome(failure=failure, message=message)
