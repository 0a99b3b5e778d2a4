"""A wait: for some time, until a point in time, or for a message."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import calls
from workflows.kind_messages import AwaitEvent
from workflows.messages import StepOutcome
from workflows.outcome import FailureClass, StepState
from workflows.spec.durations import parse_time
from workflows.spec.sources import EventSource, WaitSource
from workflows.trying import message_of
from workflows.work import End, Job, Progress


async def wait(job: Job, source: WaitSource, progress: Progress) -> End:
    """Let the time pass, or the message come.

    Raises:
        asyncio.CancelledError: cancelled.
    """
    progress.attempt_started(1)
    if source.event is not None:
        return await _event(job, source.event, progress)
    now = workflow.now()
    if source.duration is not None:
        return await _until(job, now + source.duration, progress)
    try:
        until = parse_time(job.resolved.text)
    except ValueError as error:
        return _failed(f"until: {error}")
    return await _until(job, until, progress)


async def _until(job: Job, until: datetime, progress: Progress) -> End:
    left = until - workflow.now()
    moment = f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if left > timedelta(0):
        progress.says(f"waits until {moment}")
        await calls.let_pass(left, f"{job.title} waits until {moment}")
    return End(StepState.SUCCEEDED, "", StepOutcome(outputs={"time": workflow.now().isoformat()}))


async def _event(job: Job, source: EventSource, progress: Progress) -> End:
    subject = job.resolved.text
    progress.says(f"waits for a message on {subject}")
    wanted = AwaitEvent(
        workflow=job.origin.workflow,
        key=job.key(1),
        subject=subject,
        stream=source.stream or "",
        make_stream="${{" not in source.subject,
        since=workflow.now(),
        when=source.when or "",
        variables=job.resolved.variables,
    )
    try:
        arrived = await calls.wait_for_event(wanted)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        return _failed(message_of(error))
    time = arrived.time.astimezone(UTC).isoformat()
    outcome = StepOutcome(outputs={"event": arrived.event, "subject": arrived.subject, "time": time})
    many = "" if arrived.skipped == 1 else "s"
    words = f"{arrived.skipped} message{many} before it could not be read; the worker's log says why"
    return End(StepState.SUCCEEDED, words if arrived.skipped else "", outcome)


def _failed(message: str) -> End:
    return End(StepState.FAILED, message, StepOutcome(failure=FailureClass.FAILED, message=message))
