"""Runs steps side by side, each after those it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from workflows.plan import PlannedStep


async def run_in_order(steps: Sequence[PlannedStep], run: Callable[[str], Awaitable[None]]) -> None:
    """Run each step once those it depends on have ended, however they did.

    Args:
        steps: a dependency that is none of them has ended before.
        run: brings one to its end.

    Raises:
        asyncio.CancelledError: cancelled, and every step that had begun has ended.
    """
    ended = {step.name: asyncio.Event() for step in steps}

    async def one(step: PlannedStep) -> None:
        for dependency in step.dependencies:
            if dependency in ended:
                await ended[dependency].wait()
        await run(step.name)
        ended[step.name].set()

    tasks = [asyncio.create_task(one(step), name=step.name) for step in steps]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        # gather passed the cancellation on; every step ends its engine run before it ends itself.
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
