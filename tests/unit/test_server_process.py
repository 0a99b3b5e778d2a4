from __future__ import annotations

import asyncio

from meta.server_process import end_task


async def test_a_task_whose_library_swallows_the_first_cancel_is_ended_all_the_same() -> None:
    swallowed = asyncio.Event()

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(job())
    await asyncio.sleep(0)  # it waits
    async with asyncio.timeout(20):
        await end_task(task)
    assert swallowed.is_set()
    assert task.cancelled()
