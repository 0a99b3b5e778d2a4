"""The workflow to compare with, in a module of its own: the workflow sandbox imports it alone."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow


@workflow.defn
class Plain:
    """What a team would write by hand: one activity creates the engine run, one sees it end."""

    @workflow.run
    async def run(self, steps: list[str]) -> None:
        for kind in steps:
            run = await workflow.execute_activity(
                "create", kind, result_type=str, start_to_close_timeout=timedelta(seconds=30)
            )
            await workflow.execute_activity("see", [kind, run], start_to_close_timeout=timedelta(seconds=30))
