"""Meta-runs that a workflow starts as its children: one way for steps, schedules and backfills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ChildWorkflowHandle, ParentClosePolicy

from workflows import child_calls
from workflows.child_messages import PreparedChild, RecordStart
from workflows.details import static_details, static_summary
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, RunSnapshot
from workflows.search import search_attributes


async def run_child(child: PreparedChild, begun: Callable[[str], None] = lambda _: None) -> RunSnapshot:
    """Start a meta-run and wait for its end; the store hears of it as soon as Temporal has accepted it.

    It is cancelled when this is, or when the workflow that waits for it ends before it; then its engine runs end first.

    Args:
        child: what to start.
        begun: told its id when it has been started.

    Returns:
        The run's last snapshot.

    Raises:
        ChildWorkflowError: it did not succeed; the cause says how it ended.
        WorkflowAlreadyStartedError: a run of this id was started before.
        asyncio.CancelledError: this was cancelled, and the run has ended.
    """
    start = child.start
    starting = workflow.start_child_workflow(
        WORKFLOW_TYPE,
        start,
        id=child.id,
        task_queue=TASK_QUEUE,
        result_type=RunSnapshot,
        cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        memo=child.memo.model_dump(),
        search_attributes=search_attributes(start),
        static_summary=static_summary(start) or None,
        static_details=static_details(start),
    )
    # Awaited in a task of its own: the SDK takes a cancellation in the middle of a start for done with.
    handle, cancelled = await _started(starting)
    begun(child.id)
    if cancelled:
        handle.cancel()
    try:
        await child_calls.record_start(RecordStart(child=child, at=workflow.now()))
    except ActivityError as error:
        if not is_cancelled_exception(error):  # the run's own records tell of it later
            workflow.logger.warning("the start of run %s was not recorded: %s", child.id, error)
        else:
            handle.cancel()
    except asyncio.CancelledError:
        handle.cancel()
    try:
        ended = await handle
    except ChildWorkflowError as error:
        if cancelled and is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        raise
    this = asyncio.current_task()
    if cancelled or (this is not None and this.cancelling()):  # a run may succeed in spite of it
        raise asyncio.CancelledError
    return ended


async def _started(
    starting: Coroutine[Any, Any, ChildWorkflowHandle[Any, RunSnapshot]],
) -> tuple[ChildWorkflowHandle[Any, RunSnapshot], bool]:
    """The child once Temporal has accepted it, and whether this was cancelled meanwhile."""
    task, cancelled = asyncio.ensure_future(starting), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    return task.result(), cancelled
