"""From a job to its end, whatever kind of step it is of."""

from __future__ import annotations

from workflows.attempts import EngineRuns
from workflows.child_runs import ChildRuns
from workflows.outcome import StepKind
from workflows.work import End, Job, Progress


async def do(job: Job, progress: Progress) -> End:
    """Bring a job to its end.

    Raises:
        asyncio.CancelledError: cancelled, and what the job had begun has ended.
    """
    if job.step.kind is StepKind.WORKFLOW:
        return await ChildRuns(job, progress).run()
    return await EngineRuns(job, progress).run()
