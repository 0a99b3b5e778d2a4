"""The small workflow that a Temporal Schedule starts: it runs the meta-run, and ends when that has ended.

So Temporal's overlap policies mean the run: whether one is under way, and that it ends on the schedule's word.
"""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import WorkflowAlreadyStartedError

from workflows.child_calls import prepare_tick
from workflows.child_messages import TICK_TYPE, PrepareTick, Tick, TickEnd
from workflows.children import run_child
from workflows.markdown import plain

_PLANNED = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_WORDS = 600


@workflow.defn(name=TICK_TYPE)
class MetaTick:
    """One planned time of a schedule."""

    @workflow.run
    async def run(self, tick: Tick) -> TickEnd:
        """Run the meta-run of this time.

        Raises:
            ActivityError: the inputs cannot be computed, or do not fit.
            ChildWorkflowError: the run did not succeed.
        """
        at = workflow.info().typed_search_attributes.get(_PLANNED, None) or _now()
        prepared = await prepare_tick(PrepareTick(tick=tick, at=at))
        if prepared.child is None:
            _says(f"No run: {prepared.reason}")
            return TickEnd(reason=prepared.reason)
        run_id = prepared.child.id
        _says(f"Runs {run_id}")
        try:
            await run_child(prepared.child)
        except WorkflowAlreadyStartedError:
            return TickEnd(run_id=run_id, reason="the run of this time was started before")
        return TickEnd(run_id=run_id)


def _now() -> datetime:
    """For one that is started by hand, in whole seconds as Temporal plans them."""
    return workflow.now().replace(microsecond=0)


def _says(words: str) -> None:
    workflow.set_current_details(plain(words, _WORDS))
