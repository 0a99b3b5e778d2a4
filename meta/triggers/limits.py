"""`concurrency` and `rate` of a trigger: messages wait until their run may start, over all services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from meta.api.starter import Starter
from meta.store import Store
from meta.store.triggers import EventRecord
from meta.triggers.asking import Ask
from meta.triggers.event import Event
from meta.triggers.intake import Intake, record_of
from workflows.errors import ServiceUnavailable
from workflows.naming import request_run_id
from workflows.spec.trigger_models import NatsTrigger, seconds_between

FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 1.0
"""Between two looks whether a run has ended: nobody tells us of the ends of runs that other services have started."""


class LimitedIntake(Intake):
    """Starts the runs of one trigger as its limits allow; those that wait stand in line, and the first one asks."""

    def __init__(self, starter: Starter, store: Store, trigger: NatsTrigger) -> None:
        super().__init__(starter, store)
        self._gates = store.trigger_gates
        self._concurrency = trigger.concurrency
        self._spacing_s = seconds_between(trigger.rate) if trigger.rate is not None else None
        self._line = asyncio.Lock()

    @asynccontextmanager
    async def _place(self, ask: Ask, events: Sequence[Event], source: str) -> AsyncGenerator[None]:
        """A place among the trigger's runs, which a start that comes to nothing gives back."""
        run_id = request_run_id(ask.workflow, ask.identity)
        records = [
            replace(record_of(one, ask.workflow, ask.trigger, source), outcome="held", run_id=run_id, data=one.raw)
            for one in events
        ]
        async with self._line:
            await self._wait(run_id, records)
        try:
            yield
        except ServiceUnavailable:  # Temporal may have started it, and answered too late
            raise
        except Exception:
            await self._gates.release(run_id, records)
            raise

    async def _wait(self, run_id: str, records: Sequence[EventRecord]) -> None:
        look = FIRST_LOOK_S
        while True:
            wait = await self._gates.claim(
                run_id, records, concurrency=self._concurrency, spacing_s=self._spacing_s
            )  # fmt: skip
            if wait is None:
                return
            await asyncio.sleep(wait or look)
            look = min(look * 2, LONGEST_LOOK_S)
