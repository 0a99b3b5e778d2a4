"""How the workflow calls its activities: names, task queues, time-outs, retries and the sentences people read.

Retries here are for what says nothing about the engine run (a crashed worker, an API that does not answer): they have
no limit and cost no attempt of the step. Errors that cannot get better are marked non-retryable by the activities.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState

from workflows.messages import (
    SUBMIT_TIMEOUT,
    WAIT_TASK_QUEUE,
    Activity,
    AskRetry,
    ResolvedStep,
    ResolveOutputs,
    ResolveStep,
    ResumeStep,
    RunSnapshot,
    StageArtifacts,
    StagedArtifacts,
    StepOutcome,
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.outcome import EngineRunRef
from workflows.values import JsonObject

T = TypeVar("T")

_PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
_LOCAL = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
_TERMINATE_TIMEOUT = timedelta(seconds=120)
_HEARTBEAT = timedelta(seconds=15)
_WRAPPED = "local-activity-errors"  # id of a patch: see _local
_FOREVER = timedelta(days=3650)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await something to its end, however often the task is cancelled meanwhile; the cancellation comes after it.

    Raises:
        asyncio.CancelledError: the task was cancelled while the work went on; the work has ended.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # seen: the cancellation wins over it
        raise cancelled
    return task.result()


async def _local(work: Coroutine[Any, Any, T]) -> T:
    """Await a local activity whose failure is for the caller to take.

    Temporal raises what went wrong in a local activity bare, and wrapped in an ActivityError for all others. Bare it
    would end the workflow at once, past the steps that go on and without a last word.

    Raises:
        ActivityError: its cause says why.
    """
    try:
        return await work
    except (ApplicationError, CancelledError) as error:
        if not workflow.patched(_WRAPPED):  # a run that ended so stays as it was
            raise
        raise ActivityError(
            "a local activity failed",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type="",
            activity_id="",
            retry_state=RetryState.NON_RETRYABLE_FAILURE,
        ) from error


async def resolve(message: ResolveStep) -> ResolvedStep:
    activity = workflow.execute_local_activity(
        Activity.RESOLVE,
        message,
        result_type=ResolvedStep,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=_LOCAL,
        summary=f"Work out what {message.step} gets",
    )
    return await _local(activity)


async def resolve_outputs(message: ResolveOutputs) -> JsonObject:
    activity = workflow.execute_local_activity(
        Activity.RESOLVE_OUTPUTS,
        message,
        result_type=JsonObject,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=_LOCAL,
        summary="Work out the outputs of the run",
    )
    return await _local(activity)


async def record(snapshot: RunSnapshot) -> None:
    await workflow.execute_local_activity(
        Activity.RECORD,
        snapshot,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=_LOCAL,
        summary=f"Record that the run is {snapshot.state.value}",
    )


async def stage(message: StageArtifacts) -> StagedArtifacts:
    # On the waits' queue: a copy can take hours. Cancellation waits for it, so that it has tidied up after itself.
    names = ", ".join(message.artifacts)
    return await workflow.execute_activity(
        Activity.STAGE,
        message,
        result_type=StagedArtifacts,
        task_queue=WAIT_TASK_QUEUE,
        start_to_close_timeout=_FOREVER,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Copy {names} to where {message.engine} reads, for {message.step}",
    )


async def submit(message: SubmitStep, engine: str) -> EngineRunRef:
    # Cancellation waits for a submit in flight, so that the run it made is known to whoever ends it.
    return await workflow.execute_activity(
        Activity.SUBMIT,
        message,
        result_type=EngineRunRef,
        start_to_close_timeout=SUBMIT_TIMEOUT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Submit {message.key.step} to {engine}, attempt {message.key.attempt}",
    )


async def resume(message: ResumeStep) -> EngineRunRef:
    return await workflow.execute_activity(
        Activity.RESUME,
        message,
        result_type=EngineRunRef,
        start_to_close_timeout=SUBMIT_TIMEOUT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Resume {message.ref.name} on {message.ref.engine}, attempt {message.key.attempt}",
    )


async def wait(message: WaitStep) -> StepOutcome:
    # Never a maximum of attempts: a worker that restarts consumes one each time.
    return await workflow.execute_activity(
        Activity.WAIT,
        message,
        result_type=StepOutcome,
        task_queue=WAIT_TASK_QUEUE,
        start_to_close_timeout=_FOREVER,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
        summary=f"Wait for {message.ref.name} on {message.ref.engine}",
    )


async def ask_retry(message: AskRetry) -> bool:
    activity = workflow.execute_local_activity(
        Activity.RETRY_ON,
        message,
        result_type=bool,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=_LOCAL,
        summary=f"Whether {message.step} is tried again",
    )
    return await _local(activity)


async def terminate(message: TerminateStep) -> bool:
    # One try lasts as long as the run may take to stop; heartbeats tell when its worker has died.
    return await workflow.execute_activity(
        Activity.TERMINATE,
        message,
        result_type=bool,
        start_to_close_timeout=message.grace + _TERMINATE_TIMEOUT,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"End {message.name} on {message.engine}",
    )
