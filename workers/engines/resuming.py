"""An engine's in-place retry, asked for once, whatever becomes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from workers.http import CONFLICT, ApiRejected, ApiUnavailable
from workflows.values import JsonObject


async def retry_in_place(
    current: Callable[[], Awaitable[JsonObject]],
    may_retry: Callable[[JsonObject], bool],
    retry: Callable[[], Awaitable[object]],
    settle_delay: float,
) -> JsonObject:
    """Retry a run unless it has been, and look again after an answer that leaves doubt.

    Args:
        current: reads the run.
        may_retry: whether the run, as read, still shows the end that is to be retried.
        retry: the engine's own call; it has no idempotency key.
        settle_delay: seconds before the second look.

    Returns:
        The run as last read.

    Raises:
        ApiUnavailable: no answer, and the run has not moved; or another writer was at it.
        ApiRejected: refused.
    """
    run = await current()
    if not may_retry(run):
        return run
    try:
        await retry()
    except (ApiUnavailable, ApiRejected) as error:
        for delay in (0.0, settle_delay):
            await asyncio.sleep(delay)
            run = await current()
            if not may_retry(run):
                return run
            if isinstance(error, ApiRejected):
                break
        if isinstance(error, ApiRejected) and error.status == CONFLICT:
            # Somebody, most often the controller, wrote to it at the same moment.
            raise ApiUnavailable(error.message, status=CONFLICT, hint="it is tried again") from error
        raise
    return run
