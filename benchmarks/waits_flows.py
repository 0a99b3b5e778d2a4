"""Workflows of `benchmarks.waits`, in a module of their own: the workflow sandbox imports it alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from workflows import calls
from workflows.messages import TASK_QUEUE, Activity, SubmitStep, WaitStep
from workflows.outcome import EngineRunRef

PLAIN_QUEUE = "benchmark-plain"


@workflow.defn
class WaitForMany:
    """The wait activities of many steps at once, with the options that meta-runs give them."""

    @workflow.run
    async def run(self, messages: list[WaitStep]) -> None:
        await asyncio.gather(*(calls.wait(message) for message in messages))


@workflow.defn
class SubmitAndWait:
    """The activities of one step."""

    @workflow.run
    async def run(self, message: SubmitStep) -> None:
        ref = await workflow.execute_activity(
            Activity.SUBMIT,
            message,
            task_queue=TASK_QUEUE,  # this workflow has one of its own
            result_type=EngineRunRef,
            start_to_close_timeout=timedelta(seconds=120),
        )
        await calls.wait(WaitStep(definition_name=message.definition_name, key=message.key, ref=ref))


@workflow.defn
class PlainRun:
    """What a team would write by hand: one activity creates the engine run, one sees it end."""

    @workflow.run
    async def run(self, kind: str) -> None:
        run = await workflow.execute_activity(
            "create", kind, task_queue=PLAIN_QUEUE, result_type=str, start_to_close_timeout=timedelta(seconds=60)
        )
        await workflow.execute_activity(
            "see", [kind, run], task_queue=PLAIN_QUEUE, start_to_close_timeout=timedelta(seconds=60)
        )
