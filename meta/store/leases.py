"""Leases on run keys, and the ends that resumes have seen; implements `workers.ports.Leases` and `SeenEnds`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlmodel import col, delete, select, text
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.tables import LeaseRow, SeenEndRow
from workers.ports import Lease
from workflows.naming import RunKey

_NOBODY = ""
_KEPT = timedelta(days=90)


class KeyLeases:
    """One row for each run key.

    Writers come one at a time: on SQLite because write transactions are IMMEDIATE, on PostgreSQL by the row's lock. The
    clock is the database's own where workers on many machines share it, and the machine's where the store is a file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, key: RunKey, token: str, holder: str, seconds: float) -> Lease:
        """Take the lease if nobody holds it, or its holder let it expire; returns the one in force."""
        async with self._database.write() as session:
            now = await self._now(session)
            new = {"key": str(key), "token": _NOBODY, "holder": "", "tried": False, "expires_at": now}
            if await self._database.insert_missing(session, LeaseRow, [new]):
                await session.exec(delete(LeaseRow).where(col(LeaseRow.expires_at) < now - _KEPT))
            row = await self._row(session, key)
            assert row is not None  # inserted above; only rows of long ago are deleted
            if row.token in (_NOBODY, token) or row.expires_at <= now:
                row.token, row.holder, row.expires_at = token, holder, now + timedelta(seconds=seconds)
            left = (row.expires_at - now).total_seconds()
            return Lease(row.token, row.holder, row.expires_at, left, row.tried)

    async def renew(self, key: RunKey, token: str, seconds: float) -> bool:
        """Hold it for so many seconds from now, and note that the create follows; False if another has taken it."""
        async with self._database.write() as session:
            row = await self._row(session, key)
            if row is None or row.token != token:
                return False
            row.tried, row.expires_at = True, await self._now(session) + timedelta(seconds=seconds)
            return True

    async def release(self, key: RunKey, token: str) -> None:
        """Let it go, if it is still ours. The row stays, because it says that the key was tried."""
        async with self._database.write() as session:
            row = await self._row(session, key)
            if row is not None and row.token == token:
                row.token, row.expires_at = _NOBODY, await self._now(session)

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        """Write down the end that a key saw, once; returns the one that was written first."""
        async with self._database.write() as session:
            new = {"key": str(key), "uid": uid, "end": end}
            await self._database.insert_missing(session, SeenEndRow, [new])
            row = await session.get(SeenEndRow, (str(key), uid))
            assert row is not None  # inserted above
            return row.end

    async def _row(self, session: AsyncSession, key: RunKey) -> LeaseRow | None:
        query = select(LeaseRow).where(LeaseRow.key == str(key)).with_for_update()
        return (await session.exec(query)).first()

    async def _now(self, session: AsyncSession) -> datetime:
        if self._database.engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        connection = await session.connection()
        now = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
        assert isinstance(now, datetime)
        return now
