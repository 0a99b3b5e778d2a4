"""Who may start a run of a trigger now, over all services: `concurrency` and `rate`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, func, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.event_tables import TriggerEventRow, TriggerGateRow
from meta.store.tables import RunRow
from meta.store.triggers import EventRecord, event_values
from workflows.outcome import RunState

CLAIM_S = 60.0
"""How long a place stays taken whose run the store does not know yet: longer than Temporal's answer is waited for. One
whose holder has died is free again after it."""

_LATE_S = 0.05
"""Starts that come a little late, because of a busy machine, do not slow the rate down."""


class TriggerGates:
    """One row for each trigger that has limits, which is locked while somebody is let through.

    A place is taken by the messages' own rows: they are held for a run whose id is known before it starts. It counts
    while that run has not ended in the store, or is not there yet and was claimed of late. So a claim whose service
    dies is found again by the redelivery of its message, and otherwise lapses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, run_id: str, records: Sequence[EventRecord], *, concurrency: int | None, spacing_s: float | None
    ) -> float | None:
        """Take a place for a run that is about to start; again for the same run is fine.

        Args:
            run_id: of the run.
            records: its messages, all of one trigger.
            concurrency: most runs of the trigger that have not ended.
            spacing_s: seconds from one start to the next, at least.

        Returns:
            None when the run may start now; else the seconds until asking again makes sense, 0 for not known.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        workflow, trigger = records[0].workflow, records[0].trigger
        async with self._database.write() as session:
            gate = await self._lock(session, workflow, trigger)
            now = await self._database.now(session)  # after the wait for the lock
            if not await self._has_place(session, run_id, records, now):
                if concurrency is not None:
                    taken = await self._taken(session, workflow, trigger, run_id, now)
                    if taken >= concurrency:
                        return 0.0
                if spacing_s is not None:
                    if gate.next_at > now:
                        return (gate.next_at - now).total_seconds()
                    late = now - timedelta(seconds=min(_LATE_S, spacing_s / 2))
                    gate.next_at = max(gate.next_at, late) + timedelta(seconds=spacing_s)
            await self._take(session, run_id, records, now)
        return None

    async def release(self, run_id: str, records: Sequence[EventRecord]) -> None:
        """Give up a place whose run has surely not started."""
        mine = update(TriggerEventRow).where(
            col(TriggerEventRow.id).in_([one.id for one in records]),
            col(TriggerEventRow.run_id) == run_id,
            col(TriggerEventRow.outcome) == "held",
        )
        async with self._database.write() as session:
            await session.exec(mine.values(run_id=None))

    async def _lock(self, session: AsyncSession, workflow: str, trigger: str) -> TriggerGateRow:
        new = {"workflow": workflow, "trigger": trigger, "next_at": await self._database.now(session)}
        await self._database.insert_missing(session, TriggerGateRow, [new])
        gate = await session.get(TriggerGateRow, (workflow, trigger), with_for_update=True)
        assert gate is not None  # inserted above, and rows are never deleted
        return gate

    async def _has_place(
        self, session: AsyncSession, run_id: str, records: Sequence[EventRecord], now: datetime
    ) -> bool:
        """Whether the run has a place: it has started, or it was claimed of late."""
        if await session.get(RunRow, run_id) is not None:
            return True
        known = await session.get(TriggerEventRow, records[0].id)
        return (
            known is not None
            and known.run_id == run_id
            and known.outcome == "held"
            and known.updated_at is not None
            and known.updated_at > now - timedelta(seconds=CLAIM_S)
        )

    async def _taken(
        self, session: AsyncSession, workflow: str, trigger: str, run_id: str, now: datetime
    ) -> int:  # fmt: skip
        event, run = TriggerEventRow, RunRow
        mine = select(event.id).where(
            event.run_id == run.id, event.workflow == workflow, event.trigger == trigger,
            col(event.outcome).in_(("held", "started")),
        )  # fmt: skip
        running = (
            select(func.count()).select_from(run)
            .where(run.state == RunState.RUNNING.value, run.workflow == workflow, run.id != run_id, mine.exists())
        )  # fmt: skip
        claimed = (
            select(func.count(func.distinct(event.run_id)))
            .join(run, col(run.id) == col(event.run_id), isouter=True)
            .where(
                event.workflow == workflow, event.trigger == trigger, event.outcome == "held",
                col(event.run_id).is_not(None), event.run_id != run_id, col(run.id).is_(None),
                col(event.updated_at) > now - timedelta(seconds=CLAIM_S),
            )
        )  # fmt: skip
        return (await session.exec(running)).one() + (await session.exec(claimed)).one()

    async def _take(
        self, session: AsyncSession, run_id: str, records: Sequence[EventRecord], now: datetime
    ) -> None:  # fmt: skip
        ids = col(TriggerEventRow.id).in_([one.id for one in records])
        known = set((await session.exec(select(TriggerEventRow.id).where(ids))).all())
        rows: list[dict[str, Any]] = [event_values(one, now) for one in records if one.id not in known]
        await self._database.insert_missing(session, TriggerEventRow, rows)
        open_ = or_(col(TriggerEventRow.outcome) != "started", col(TriggerEventRow.run_id).is_(None))
        values = {"outcome": "held", "run_id": run_id, "updated_at": now}
        await session.exec(update(TriggerEventRow).where(ids, open_).values(**values))
