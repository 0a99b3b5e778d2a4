"""What becomes of gathered messages when their trigger gathers no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from meta.store import Store
from meta.triggers.gather import Pace, utc_now
from workflows.errors import NotFound


async def retire(
    store: Store, workflow: str, trigger: str, *, clock: Callable[[], datetime] = utc_now, claim: float = Pace().claim
) -> int:
    """Let go of what was gathered for a trigger that is removed, or gathers no more.

    A batch whose run has started has started. All other messages are dead, with this as the reason: a trigger that
    somebody took away starts nothing, and nothing is lost, for they can be replayed.

    Args:
        store: holds the messages.
        workflow: whose trigger it was.
        trigger: its key.
        clock: as the gatherers'.
        claim: as their `Pace`'s.

    Returns:
        How many messages are left, because another service starts their batch at this moment: call again.

    Raises:
        ServiceUnavailable: the store does not answer.
    """
    held, now = await store.gathering.held(workflow, trigger), clock()
    if not held:
        return 0
    gone = NotFound(
        f"trigger {trigger} of {workflow} was removed, or gathers no more, while the message waited for others",
        hint="replay the message, or discard it",
    )
    silent = now - timedelta(seconds=claim)
    left = {message.batch for message in held if message.batch and message.seen_at > silent}
    for batch in {message.batch for message in held if message.batch} - left:
        known = await store.runs.requested(workflow, batch)
        if known is not None:
            await store.gathering.started(workflow, batch, known.run_id, now)
        else:
            await store.gathering.bury(workflow, batch, gone, now)
    await store.gathering.bury_waiting(workflow, trigger, gone, now)
    return sum(message.batch in left for message in held)


async def retire_all(store: Store, workflow: str, trigger: str) -> None:
    """Let go of all that was gathered for a trigger that gathers no more, and then do nothing until cancelled.

    Raises:
        ServiceUnavailable: the store does not answer.
    """
    while await retire(store, workflow, trigger):
        await asyncio.sleep(Pace().claim)
    await asyncio.Event().wait()
