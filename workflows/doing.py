"""From a job to its end, whatever kind of step it is of."""

from __future__ import annotations

from workflows.attempts import EngineRuns
from workflows.child_runs import ChildRuns
from workflows.foreign import ForeignRuns
from workflows.outcome import StepState
from workflows.waits import wait
from workflows.work import End, Job, Progress


async def do(job: Job, progress: Progress) -> End:
    """Bring a job to its end.

    Raises:
        asyncio.CancelledError: cancelled, and what the job had begun has ended.
    """
    step = job.step
    if step.activity is not None:
        return await ForeignRuns(job, step.activity, progress).run()
    if step.workflow is not None:
        return await ChildRuns(job, progress).run()
    if step.wait is not None:
        return await wait(job, step.wait, progress)
    if step.engine_kind is None:
        return End(StepState.FAILED, f"a step of kind {step.kind} cannot be run item by item")
    return await EngineRuns(job, progress).run()
