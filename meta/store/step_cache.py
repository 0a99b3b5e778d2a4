"""Successes that can stand for the same work, by the digest of the work; of each the newest is kept."""

from __future__ import annotations

from sqlmodel import and_, col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.tables import CachedStepRow
from workers.ports import CachedSuccess
from workflows.messages import StepOutcome
from workflows.naming import RunKey


class CachedSteps:
    """Implements `workers.ports.StepCache`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cached(self, key: str) -> CachedSuccess | None:
        """The newest success of this work.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        newest = col(CachedStepRow.ended_at).desc()
        async with self._database.read() as session:
            row = (await session.exec(select(CachedStepRow).where(CachedStepRow.key == key).order_by(newest))).first()
        if row is None:
            return None
        by = RunKey(meta_run=row.run_id, step=row.step, index=row.index)
        return CachedSuccess(key, by, StepOutcome.model_validate(row.outcome), row.ended_at)


async def keep(database: Database, session: AsyncSession, success: CachedSuccess) -> None:
    """Keep a success in place of older ones of the same work, inside the transaction that tells of its end.

    Two that end at the same moment may both stay, until the next one; the newest counts.
    """
    same = col(CachedStepRow.key) == success.key
    newer = select(CachedStepRow.key).where(same, col(CachedStepRow.ended_at) > success.ended_at)
    if (await session.exec(newer)).first() is not None:
        return
    mine = and_(
        col(CachedStepRow.run_id) == success.by.meta_run,
        col(CachedStepRow.step) == success.by.step,
        col(CachedStepRow.index) == success.by.index,
    )
    old = or_(col(CachedStepRow.ended_at) < success.ended_at, mine)
    await session.exec(delete(CachedStepRow).where(same, old))
    row = {
        "key": success.key,
        "run_id": success.by.meta_run,
        "step": success.by.step,
        "index": success.by.index,
        "outcome": success.outcome.model_dump(mode="json", exclude_defaults=True),
        "ended_at": success.ended_at,
    }
    await database.insert_missing(session, CachedStepRow, [row])
