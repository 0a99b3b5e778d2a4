"""How workflows call the activities that prepare runs of other meta-workflows; see `workflows.calls`."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows.calls import LOCAL, fitting, local
from workflows.child_messages import (
    PrepareChild,
    PreparedChild,
    PreparedPartition,
    PreparedTick,
    PreparePartition,
    PrepareTick,
    RecordStart,
)
from workflows.messages import Activity

_TIMEOUT = timedelta(seconds=30)


async def prepare_child(message: PrepareChild) -> PreparedChild:
    """Look the newest version up, and fill and check its inputs.

    Raises:
        ActivityError: nothing is published under the name, the inputs do not fit, or it is nested too deep.
    """
    activity = workflow.execute_local_activity(
        Activity.PREPARE_CHILD,
        message,
        result_type=PreparedChild,
        start_to_close_timeout=_TIMEOUT,
        retry_policy=LOCAL,
        summary=fitting(f"Look up meta-workflow {message.workflow} and check its inputs, for {message.step}"),
    )
    return await local(activity)


async def prepare_tick(message: PrepareTick) -> PreparedTick:
    """Work out the inputs of a schedule's run.

    Raises:
        ActivityError: the inputs cannot be computed, or do not fit.
    """
    activity = workflow.execute_local_activity(
        Activity.PREPARE_TICK,
        message,
        result_type=PreparedTick,
        start_to_close_timeout=_TIMEOUT,
        retry_policy=LOCAL,
        summary=fitting(f"Work out the inputs of {message.tick.workflow} for {message.at:%Y-%m-%d %H:%M:%S} UTC"),
    )
    return await local(activity)


async def prepare_partition(message: PreparePartition) -> PreparedPartition:
    """See whether a partition is done, and work out the inputs of its run.

    Raises:
        ActivityError: the inputs cannot be computed, or do not fit.
    """
    activity = workflow.execute_local_activity(
        Activity.PREPARE_PARTITION,
        message,
        result_type=PreparedPartition,
        start_to_close_timeout=_TIMEOUT,
        retry_policy=LOCAL,
        summary=fitting(f"Look whether the partition of {message.partition.start:%Y-%m-%d %H:%M:%S} UTC is done"),
    )
    return await local(activity)


async def record_start(message: RecordStart) -> None:
    activity = workflow.execute_local_activity(
        Activity.RECORD_START,
        message,
        start_to_close_timeout=_TIMEOUT,
        retry_policy=LOCAL,
        summary=fitting(f"Record that run {message.child.id} has started"),
    )
    await local(activity)
