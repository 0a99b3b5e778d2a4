"""What will happen to workflows at some time: another pass, or their removal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from meta.sandbox.argo.state.workflow import Workflow


class Due(StrEnum):
    """What is due; each workflow has at most one timer of a kind."""

    PASS = "pass"
    REMOVAL = "removal"


class Timers:
    """Timers by workflow and kind."""

    def __init__(self) -> None:
        self._timers: dict[tuple[str, Due], asyncio.TimerHandle] = {}

    def set(self, workflow: Workflow, kind: Due, at: datetime, action: Callable[[Workflow], None]) -> None:
        """Call the action then, in the place of what was set before."""
        self.cancel(workflow, kind)
        wait = max(0.0, (at - datetime.now(UTC)).total_seconds())
        timer = asyncio.get_running_loop().call_later(wait, self._ring, workflow, kind, action)
        self._timers[workflow.metadata.uid, kind] = timer

    def _ring(self, workflow: Workflow, kind: Due, action: Callable[[Workflow], None]) -> None:
        self._timers.pop((workflow.metadata.uid, kind), None)
        action(workflow)

    def cancel(self, workflow: Workflow, *kinds: Due) -> None:
        """Forget timers; those that are not set are fine."""
        for kind in kinds or Due:
            timer = self._timers.pop((workflow.metadata.uid, kind), None)
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
