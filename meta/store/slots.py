"""Slots of engine runs that are under way; implements `workers.ports.Slots`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.tables import EngineGateRow, EngineSlotRow, RunRow
from workers.ports import SlotAnswer
from workflows.naming import RunKey
from workflows.outcome import RunState


class EngineSlots:
    """Counts the runs of each engine for all workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, engine: str, key: RunKey, limit: int | None, rate: float | None) -> SlotAnswer:
        """See `Slots.take`.

        The gate's row is locked first, so that two workers do not both see the last slot free (PostgreSQL; a write
        transaction on SQLite is alone anyway).
        """
        now = datetime.now(UTC)
        async with self._database.write() as session:
            await self._database.insert_missing(session, EngineGateRow, [{"engine": engine, "next_at": now}])
            gate = await session.get(EngineGateRow, engine, with_for_update=True)
            assert gate is not None  # inserted above
            row = await session.get(EngineSlotRow, (key.meta_run, key.step, key.index))
            if row is not None and row.engine == engine:
                row.attempt = max(row.attempt, key.attempt)
            else:
                taken = await self._count(session, engine)
                if limit is not None and taken >= limit:
                    await self._sweep(session, engine)
                    taken = await self._count(session, engine)
                    if taken >= limit:
                        return SlotAnswer(granted=False, taken=taken)
                at = now
                if rate is not None:
                    at = max(gate.next_at, now)
                    gate.next_at = at + timedelta(seconds=1 / rate)
                if row is not None:  # the step has moved to another engine
                    await session.delete(row)
                    await session.flush()
                row = EngineSlotRow(
                    run_id=key.meta_run, step=key.step, index=key.index, attempt=key.attempt, engine=engine, due_at=at
                )
                session.add(row)
            wait = (row.due_at - now).total_seconds()
            return SlotAnswer(granted=wait <= 0, wait=wait if wait > 0 else None)

    async def free(self, key: RunKey, *, any_attempt: bool = False) -> None:
        """See `Slots.free`."""
        statement = delete(EngineSlotRow).where(
            col(EngineSlotRow.run_id) == key.meta_run,
            col(EngineSlotRow.step) == key.step,
            col(EngineSlotRow.index) == key.index,
        )
        if not any_attempt:
            statement = statement.where(col(EngineSlotRow.attempt) <= key.attempt)
        async with self._database.write() as session:
            await session.exec(statement)

    async def taken(self, engine: str) -> int:
        """How many slots of an engine are taken."""
        async with self._database.read() as session:
            return await self._count(session, engine)

    async def _count(self, session: AsyncSession, engine: str) -> int:
        query = select(func.count()).select_from(EngineSlotRow).where(col(EngineSlotRow.engine) == engine)
        return (await session.exec(query)).one()

    async def _sweep(self, session: AsyncSession, engine: str) -> None:
        """Free the slots of meta-runs that have ended, be it that Temporal ended them."""
        ended = select(RunRow.id).where(RunRow.state != RunState.RUNNING.value)
        await session.exec(
            delete(EngineSlotRow).where(col(EngineSlotRow.engine) == engine, col(EngineSlotRow.run_id).in_(ended))
        )
