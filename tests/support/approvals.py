"""Approvals of a running workflow, for tests."""

from __future__ import annotations

import asyncio

from temporalio.client import WorkflowHandle

from workflows.messages import Asked, RunSnapshot, StepSnapshot
from workflows.outcome import StepState

Handle = WorkflowHandle[object, RunSnapshot]


async def until_running(handle: Handle, step: str, timeout_s: float = 20.0) -> StepSnapshot:
    """Wait until a step runs and says what it waits for."""
    async with asyncio.timeout(timeout_s):
        while True:
            run = await handle.query("state", result_type=RunSnapshot)
            one = next(s for s in run.steps if s.name == step)
            if one.state is StepState.RUNNING and one.message:
                return one
            await asyncio.sleep(0.02)


async def until_asked(handle: Handle, step: str = "approve", timeout_s: float = 20.0) -> Asked:
    """Wait until a step asks."""
    asked = (await until_running(handle, step, timeout_s)).asked
    assert asked is not None
    return asked


def step_of(run: RunSnapshot, name: str) -> StepSnapshot:
    """A step by its name."""
    return next(step for step in run.steps if step.name == name)
