"""How the workflow calls its activities: names, task queues, time-outs, retries and the sentences people read.

Retries here are for what says nothing about the engine run (a crashed worker, an API that does not answer): they have
no limit and cost no attempt of the step. Errors that cannot get better are marked non-retryable by the activities.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState

from workflows.caching_messages import FindCached, FoundCached
from workflows.fanout_messages import (
    CHUNK_TYPE,
    RECORD_ITEMS,
    RESOLVE_ITEMS,
    ItemsEnd,
    RecordItems,
    ResolvedItems,
    ResolveItems,
    StartChunk,
)
from workflows.kind_messages import AwaitEvent, EventArrived, TakeResult
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
from workflows.spec.sources import ActivitySource
from workflows.values import JsonObject, JsonValue

T = TypeVar("T")

_PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
LOCAL = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
"""Of local activities: they are short, and wait for the store alone."""
_TERMINATE_TIMEOUT = timedelta(seconds=120)
_HEARTBEAT = timedelta(seconds=15)
_WRAPPED = "local-activity-errors"  # id of a patch: see local
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


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Await something to its end; a cancellation of the task meanwhile comes too late and changes nothing."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            workflow.logger.info("a cancellation comes too late")
    return task.result()


async def within(
    timeout: timedelta, work: Coroutine[Any, Any, T], words: str, over: Callable[[], None] | None = None
) -> T:
    """Await with a time limit, as `asyncio.wait_for` does, whose timer nobody can name.

    Args:
        timeout: for the work; it is cancelled when that is over.
        work: may take its time to end then.
        words: what people read of the timer.
        over: called when the time is, before the work is cancelled.

    Raises:
        TimeoutError: the work was cancelled, and has ended.
        asyncio.CancelledError: this was cancelled, and the work has ended.
    """
    task = asyncio.create_task(work)
    try:
        await workflow.wait_condition(task.done, timeout=timeout, timeout_summary=words)
    except TimeoutError:
        if over is not None:
            over()
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


async def local(work: Coroutine[Any, Any, T]) -> T:
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
        retry_policy=LOCAL,
        summary=f"Work out whether {message.step} runs, and with which parameters and artifacts",
    )
    return await local(activity)


async def resolve_items(message: ResolveItems) -> ResolvedItems:
    last = message.first + len(message.items) - 1
    activity = workflow.execute_local_activity(
        RESOLVE_ITEMS,
        message,
        result_type=ResolvedItems,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary=fitting(f"Work out the parameters of items {message.first} to {last} of {message.shared.name}"),
    )
    return await local(activity)


async def record_items(message: RecordItems) -> None:
    await workflow.execute_local_activity(
        RECORD_ITEMS,
        message,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary=fitting(f"Record what {len(message.items)} items of {message.step} came to"),
    )


async def chunk(message: StartChunk) -> ItemsEnd:
    """Run a part of a fan-out in a workflow of its own.

    Its id says which part of which run. When it is cancelled, it ends its engine runs, and then says what it came to.
    When the run is terminated in Temporal, it is asked to end, too.
    """
    shared, last = message.shared, message.first + len(message.items) - 1
    return await workflow.execute_child_workflow(
        CHUNK_TYPE,
        message,
        id=f"{shared.origin.run_id}/{shared.name}/{message.first}-{last}",
        result_type=ItemsEnd,
        cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
        static_summary=fitting(f"Items {message.first} to {last} of {shared.name} in {shared.origin.run_id}"),
    )


async def find_cached(message: FindCached) -> FoundCached:
    activity = workflow.execute_local_activity(
        Activity.FIND_CACHED,
        message,
        result_type=FoundCached,
        start_to_close_timeout=timedelta(seconds=60),
        retry_policy=LOCAL,
        summary=fitting(f"Look for an earlier success of the work of {message.key.step}"),
    )
    return await local(activity)


async def resolve_outputs(message: ResolveOutputs) -> JsonObject:
    activity = workflow.execute_local_activity(
        Activity.RESOLVE_OUTPUTS,
        message,
        result_type=JsonObject,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary="Work out the outputs of the run",
    )
    return await local(activity)


async def record(snapshot: RunSnapshot) -> None:
    await workflow.execute_local_activity(
        Activity.RECORD,
        snapshot,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary=fitting(f"Record that {_how_far(snapshot)}"),
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
        summary=fitting(f"Copy {names} to where {message.engine} can read, for {message.step}"),
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
        summary=fitting(f"Submit {_attempt(message.key)} to {engine}"),
    )


async def resume(message: ResumeStep) -> EngineRunRef:
    return await workflow.execute_activity(
        Activity.RESUME,
        message,
        result_type=EngineRunRef,
        start_to_close_timeout=SUBMIT_TIMEOUT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=fitting(f"Resume {message.ref.name} on {message.ref.engine} as {_attempt(message.key)}"),
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
        summary=fitting(f"Wait until {message.ref.engine} has ended {_attempt(message.key)} ({message.ref.name})"),
    )


async def wait_for_event(message: AwaitEvent) -> EventArrived:
    # As `wait`; there is nothing to end when it is cancelled.
    return await workflow.execute_activity(
        Activity.WAIT_EVENT,
        message,
        result_type=EventArrived,
        task_queue=WAIT_TASK_QUEUE,
        start_to_close_timeout=_FOREVER,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_PATIENT,
        cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
        summary=fitting(f"Wait for a message on {message.subject}, for {message.key.step}"),
    )


async def take_result(message: TakeResult) -> JsonObject:
    activity = workflow.execute_local_activity(
        Activity.TAKE_RESULT,
        message,
        result_type=JsonObject,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary=fitting(f"Take what the activity has given as outputs of {message.step}"),
    )
    return await local(activity)


async def ask_retry(message: AskRetry) -> bool:
    activity = workflow.execute_local_activity(
        Activity.RETRY_ON,
        message,
        result_type=bool,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=LOCAL,
        summary=fitting(f"Decide whether {message.step} is tried again after attempt {message.attempt}"),
    )
    return await local(activity)


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
        summary=fitting(f"End {message.name} on {message.engine}, for {message.key.step}: {message.reason}"),
    )


def start_foreign(
    source: ActivitySource, parameters: JsonObject, limit: timedelta, words: str
) -> workflow.ActivityHandle[JsonValue]:
    """Start an activity of somebody else's worker; Temporal tries it once.

    Args:
        source: which, and where.
        parameters: its one argument.
        limit: of its run.
        words: what people read of whom it is for.
    """
    handle: workflow.ActivityHandle[JsonValue] = workflow.start_activity(
        source.name,
        parameters,
        task_queue=source.task_queue,
        start_to_close_timeout=limit,
        schedule_to_start_timeout=source.schedule_timeout,
        heartbeat_timeout=source.heartbeat_timeout,
        retry_policy=RetryPolicy(maximum_attempts=1),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=fitting(f"Run {source.name} on {source.task_queue}, for {words}"),
    )
    return handle


async def let_pass(time: timedelta, words: str) -> None:
    """Let time pass; `words` is what people read of the timer."""
    await workflow.sleep(time, summary=fitting(words))


async def pause(delay: timedelta, step: str, attempt: int) -> None:
    """Let the time between two attempts pass.

    Args:
        delay: how long.
        step: its name.
        attempt: the one that follows.
    """
    await workflow.sleep(delay, summary=f"Pause for {delay.total_seconds():.3g} s before attempt {attempt} of {step}")


def fitting(text: str) -> str:
    """What people read of an activity, within Temporal's limit; it is no part of what a replay compares."""
    return fit(cut(text, SUMMARY_LIMIT), SUMMARY_LIMIT)


def _attempt(key: RunKey) -> str:
    title = f"{key.step}[{key.index - 1}]" if key.index else key.step
    return title if key.attempt == 1 else f"attempt {key.attempt} of {title}"


def _how_far(run: RunSnapshot) -> str:
    if run.state.ended:
        return f"the run has {_END[run.state]}"
    ended = [f"{step.name} {step.state.value.replace('_', ' ')}" for step in run.steps if step.state.ended]
    return f"the run goes on; so far {', '.join(ended)}"
