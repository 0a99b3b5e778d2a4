"""From a job to its end, whatever kind of step it is of."""

from __future__ import annotations

from workflows.attempts import EngineRuns
from workflows.foreign import ForeignRuns
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
    if step.wait is not None:
        return await wait(job, step.wait, progress)
    return await EngineRuns(job, progress).run()
