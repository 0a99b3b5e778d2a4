"""Work that an earlier success can stand for: looked for before it is done, and kept when it has succeeded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import calls
from workflows.caching_messages import FindCached
from workflows.doing import do
from workflows.outcome import StepState
from workflows.trying import message_of
from workflows.work import End, Job, Progress


async def do_cached(job: Job, progress: Progress) -> End:
    """Bring a job to its end, as `do`; where its step has a `cache`, without running it if that can be.

    Raises:
        asyncio.CancelledError: cancelled, and what the job had begun has ended.
    """
    caching = job.step.caching
    if caching is None or job.step.engine_kind is None:
        return await do(job, progress)
    try:
        found = await calls.find_cached(
            FindCached(
                bundle_digest=job.origin.bundle_digest,
                key=job.key(0),
                resolved=job.resolved,
                choice=job.origin.choices.get(job.name),
                outputs=job.step.outputs,
                ttl=caching.ttl,
                look=not job.origin.no_cache,
            )
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        return End(StepState.FAILED, message_of(error))
    if found.note:
        progress.note(found.note)
    if found.outcome is not None:
        return End(StepState.SUCCEEDED, "", found.outcome)
    return await do(replace(job, cache_key=found.key), progress)
