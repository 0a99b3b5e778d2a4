"""An engine's in-place retry, asked for once, whatever becomes of the answer or of the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from workers.engines.fencing import Fence
from workers.http import CONFLICT, ApiRejected, ApiUnavailable
from workflows.naming import RunKey
from workflows.values import JsonObject


async def retry_in_place(
    fence: Fence,
    key: RunKey,
    uid: str,
    *,
    current: Callable[[], Awaitable[JsonObject]],
    end: Callable[[JsonObject], str],
    retry: Callable[[float], Awaitable[object]],
) -> JsonObject:
    """Retry a run unless this key has retried it, and look again after an answer that leaves doubt.

    The end that is retried is written down before the engine is asked, so that a repeat, in whichever process, knows
    a later end for what it is: the retry's own.

    Args:
        fence: keeps the tries of a key apart.
        key: of the new attempt.
        uid: of the run.
        current: reads the run.
        end: what tells the end of a run that can be retried from every other end of it; empty for any other run.
        retry: the engine's own call, to be sent by a moment of `time.monotonic`; it has no idempotency key.

    Returns:
        The run as last read.

    Raises:
        EngineUnavailable: no answer, and the run has not moved; another writer, or another try, was at it.
        EngineRejected: refused.
    """
    async with fence.hold(key) as this:
        async with this.preparing():
            run = await current()
            if not (seen := end(run)) or await fence.keeper.first_end(key, uid, seen) != seen:
                return run

        async def moved() -> JsonObject | None:
            found = await current()
            return None if end(found) == seen else found

        async with this.creating() as send_by:
            try:
                await retry(send_by)
            except ApiUnavailable as error:
                return await this.after_doubt(moved, error)
            except ApiRejected as error:
                this.settled()
                if (found := await moved()) is not None:
                    return found
                if error.status != CONFLICT:
                    raise
                # Somebody, most often the controller, wrote to it at the same moment.
                raise ApiUnavailable(error.message, status=CONFLICT, hint="it is tried again") from error
        return run
