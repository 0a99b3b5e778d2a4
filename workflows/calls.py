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

from workflows.caching_messages import FindCached, FoundCached
from workflows.markdown import SUMMARY_LIMIT, cut, fit
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
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, RunState
from workflows.values import JsonObject

T = TypeVar("T")

_PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
_LOCAL = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
_TERMINATE_TIMEOUT = timedelta(seconds=120)
_HEARTBEAT = timedelta(seconds=15)
_WRAPPED = "local-activity-errors"  # id of a patch: see _local
_END = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELED: "been cancelled",
    RunState.TERMINATED: "been terminated",
}
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


async def within(timeout: timedelta, work: Coroutine[Any, Any, T], words: str) -> T:
    """Await with a time limit, as `asyncio.wait_for` does, whose timer nobody can name.

    Args:
        timeout: for the work; it is cancelled when that is over.
        work: may take its time to end then.
        words: what people read of the timer.

    Raises:
        TimeoutError: the work was cancelled, and has ended.
        asyncio.CancelledError: this was cancelled, and the work has ended.
    """
    task = asyncio.create_task(work)
    try:
        await workflow.wait_condition(task.done, timeout=timeout, timeout_summary=words)
    except TimeoutError:
        if await _cancelled(task):
            raise
    except asyncio.CancelledError:
        await _cancelled(task)
        raise
    return task.result()


async def limited(timeout: timedelta | None, work: Coroutine[Any, Any, T], words: str, *, named: bool) -> T:
    """Await, with a time limit if there is one. The work is cancelled, and has ended, when TimeoutError comes.

    Args:
        timeout: None for none.
        work: see `within`.
        words: what people read of the timer.
        named: False in runs from before timers had words.

    Raises:
        TimeoutError, asyncio.CancelledError: as `within`.
    """
    if timeout is not None and named:
        return await within(timeout, work, words)
    return await asyncio.wait_for(work, None if timeout is None else timeout.total_seconds())


async def _cancelled(task: asyncio.Task[T]) -> bool:
    """Cancel a task and await its end, however often this is cancelled; False when it came to a result all the same.

    Raises:
        asyncio.CancelledError: this was cancelled meanwhile; the task has ended.
    """
    task.cancel()
    again: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            again = error
    if not task.cancelled():
        task.exception()  # seen: what cancelled it counts
    if again is not None:
        raise again
    return task.cancelled()


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
        summary=f"Work out whether {message.step} runs, and with which parameters and artifacts",
    )
    return await _local(activity)


async def find_cached(message: FindCached) -> FoundCached:
    activity = workflow.execute_local_activity(
        Activity.FIND_CACHED,
        message,
        result_type=FoundCached,
        start_to_close_timeout=timedelta(seconds=60),
        retry_policy=_LOCAL,
        summary=_sentence(f"Look for an earlier success of the work of {message.key.step}"),
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
        summary=_sentence(f"Record that {_how_far(snapshot)}"),
    )


async def stage(message: StageArtifacts) -> StagedArtifacts:
    # On the waits' queue: a copy can take hours. Cancellation waits for it, so that it has tidied up after itself.
    names = ", ".join(cut(name, 63) for name in message.artifacts)
    return await workflow.execute_activity(
        Activity.STAGE,
        message,
        result_type=StagedArtifacts,
        task_queue=WAIT_TASK_QUEUE,
        start_to_close_timeout=_FOREVER,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=_sentence(f"Copy {names} to where {message.engine} can read, for {message.step}"),
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
        summary=_sentence(f"Submit {_attempt(message.key)} to {engine}"),
    )


async def resume(message: ResumeStep) -> EngineRunRef:
    return await workflow.execute_activity(
        Activity.RESUME,
        message,
        result_type=EngineRunRef,
        start_to_close_timeout=SUBMIT_TIMEOUT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=_sentence(f"Resume {message.ref.name} on {message.ref.engine} as {_attempt(message.key)}"),
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
        summary=_sentence(f"Wait until {message.ref.engine} has ended {_attempt(message.key)} ({message.ref.name})"),
    )


async def ask_retry(message: AskRetry) -> bool:
    activity = workflow.execute_local_activity(
        Activity.RETRY_ON,
        message,
        result_type=bool,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=_LOCAL,
        summary=_sentence(f"Decide whether {message.step} is tried again after attempt {message.attempt}"),
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
        summary=_sentence(f"End {message.name} on {message.engine}, for {message.key.step}: {message.reason}"),
    )


async def pause(delay: timedelta, step: str, attempt: int) -> None:
    """Let the time between two attempts pass.

    Args:
        delay: how long.
        step: its name.
        attempt: the one that follows.
    """
    await workflow.sleep(delay, summary=f"Pause for {delay.total_seconds():.3g} s before attempt {attempt} of {step}")


def _sentence(text: str) -> str:
    """What people read of an activity, within Temporal's limit; it is no part of what a replay compares."""
    return fit(cut(text, SUMMARY_LIMIT), SUMMARY_LIMIT)


def _attempt(key: RunKey) -> str:
    return key.step if key.attempt == 1 else f"attempt {key.attempt} of {key.step}"


def _how_far(run: RunSnapshot) -> str:
    if run.state.ended:
        return f"the run has {_END[run.state]}"
    ended = [f"{step.name} {step.state.value.replace('_', ' ')}" for step in run.steps if step.state.ended]
    return f"the run goes on; so far {', '.join(ended)}"
