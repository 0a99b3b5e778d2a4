"""Tells the store of tries of activities that no other record speaks of: those that failed, and copies of artifacts.

A try that succeeds on the way that every step takes costs nothing here: submit and wait write their own rows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, is_cancelled_exception
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from workers.ports import KEPT_TRIES, Recorder, Work
from workflows.caching_messages import FindCached
from workflows.child_messages import PrepareChild
from workflows.errors import EngineFull, MetaError
from workflows.fanout_messages import RecordItems, ResolveItems
from workflows.kind_messages import AwaitEvent, TakeResult
from workflows.messages import (
    Activity,
    AskRetry,
    ResolveOutputs,
    ResolveStep,
    ResumeStep,
    StageArtifacts,
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.naming import RunKey

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for the store to take it; a try that failed is to be repeated, and must not wait for a store that is away."""

MAX_MESSAGE = 2000
"""Characters of an error's message."""

_TOLD_OF_SUCCESS = frozenset({Activity.STAGE.value, Activity.TERMINATE.value})


class WorkInterceptor(Interceptor):
    """Stands inside `ErrorInterceptor`, so that it sees this project's errors as they are."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next, self._recorder)


class _Activity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, recorder: Recorder) -> None:
        super().__init__(next)
        self._recorder = recorder

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        started_at = datetime.now(UTC)
        try:
            result = await super().execute_activity(input)
        except Exception as error:  # whatever it is: it is told and raised again
            if not is_cancelled_exception(error) and not _is_old_news(error):
                await self._tell(input.args, started_at, error)
            raise
        if activity.info().activity_type in _TOLD_OF_SUCCESS:
            await self._tell(input.args, started_at, None)
        return result

    async def _tell(self, arguments: Sequence[object], started_at: datetime, error: Exception | None) -> None:
        info = activity.info()
        key = key_of(arguments[0] if arguments else None, info.workflow_id or "")
        if key is None:
            return
        work = Work(
            key=key,
            what=info.activity_type,
            number=info.attempt,
            worker=f"{socket.gethostname()}, process {os.getpid()}",
            started_at=started_at,
            ended_at=datetime.now(UTC),
            code=_code(error),
            message=_message(error)[:MAX_MESSAGE],
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._recorder.worked(work)
        except Exception as failure:  # what is missing in a trace is no reason for a step to fail
            log.warning("the trace of run %s will lack a try of %s: %r", key.meta_run, work.what, failure)


def key_of(message: object, run_id: str) -> RunKey | None:  # noqa: PLR0911 -- one for each kind of message
    """Which attempt an activity works for; attempt 0 before the first, and no step for the run as a whole.

    Args:
        message: the activity's argument.
        run_id: of the workflow that asks.

    Returns:
        None for what has no place in a trace.
    """
    match message:
        case (
            TerminateStep(attempt=RunKey() as key)
            | AskRetry(key=RunKey() as key)
            | StageArtifacts(key=RunKey() as key)
            | TakeResult(key=RunKey() as key)
        ):
            return key
        case TerminateStep() | SubmitStep() | ResumeStep() | WaitStep() | AwaitEvent() | FindCached():
            return message.key
        case ResolveItems(shared=shared):
            return RunKey(meta_run=shared.origin.run_id, step=shared.name, attempt=0)
        case RecordItems(run=run, step=step):
            return RunKey(meta_run=run, step=step, attempt=0)
        case PrepareChild(origin=origin, step=step, index=index, attempt=attempt):
            return RunKey(meta_run=origin.run_id, step=step, index=index, attempt=attempt)
        case AskRetry():
            return RunKey(meta_run=run_id, step=message.step, attempt=message.attempt)
        case ResolveStep() | StageArtifacts() | TakeResult():
            return RunKey(meta_run=run_id, step=message.step, attempt=0)
        case ResolveOutputs():
            return RunKey(meta_run=run_id, step="", attempt=0)
        case _:
            return None


def _is_old_news(error: Exception) -> bool:
    """Whether it is one of the many tries of a submit that waits for a slot: hundreds wait, and ask the store often."""
    return isinstance(error, EngineFull) and activity.info().attempt > KEPT_TRIES


def _code(error: Exception | None) -> str:
    match error:
        case None:
            return ""
        case MetaError():
            return error.code
        case ApplicationError():
            return error.type or type(error).__name__
        case _:
            return type(error).__name__


def _message(error: Exception | None) -> str:
    return "" if error is None else error.message if isinstance(error, MetaError) else str(error)
