"""Leases on run keys, and the ends that resumes have seen; implements `workers.ports.Leases` and `SeenEnds`."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import col, delete, select, update

from meta.store.database import Database
from meta.store.tables import LeaseRow, SeenEndRow
from workers.ports import Lease
from workflows.naming import RunKey

_NOBODY = ""
_KEPT = timedelta(days=90)


class KeyLeases:
    """One row for each run key, and for each other thing that one process does at a time, by its name.

    Writers come one at a time: on SQLite because write transactions are IMMEDIATE, on PostgreSQL by the row's lock. The
    clock is the database's own where workers on many machines share it, and the machine's where the store is a file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, key: RunKey | str, token: str, holder: str, seconds: float) -> Lease:
        """Take the lease if nobody holds it, or its holder let it expire; returns the one in force."""
        async with self._database.write() as session:
            now = await self._database.now(session)
            expires_at = now + timedelta(seconds=seconds)
            new = {"key": str(key), "token": token, "holder": holder, "tried": False, "expires_at": expires_at}
            if await self._database.insert_missing(session, LeaseRow, [new]):
                return Lease(token, holder, expires_at, seconds, tried=False)
            row = (await session.exec(select(LeaseRow).where(LeaseRow.key == str(key)).with_for_update())).one()
            if row.token in (_NOBODY, token) or row.expires_at <= now:
                row.token, row.holder, row.expires_at = token, holder, expires_at
            return Lease(row.token, row.holder, row.expires_at, (row.expires_at - now).total_seconds(), row.tried)

    async def renew(self, key: RunKey, token: str, seconds: float) -> bool:
        """Hold it for so many seconds from now, and note that the create follows; False if another has taken it."""
        async with self._database.write() as session:
            until = await self._database.now(session) + timedelta(seconds=seconds)
            ours = update(LeaseRow).where(col(LeaseRow.key) == str(key), col(LeaseRow.token) == token)
            return (await session.exec(ours.values(tried=True, expires_at=until))).rowcount == 1

    async def release(self, key: RunKey | str, token: str) -> None:
        """Let it go, if it is still ours. The row stays, because it says that the key was tried."""
        async with self._database.write() as session:
            ours = update(LeaseRow).where(col(LeaseRow.key) == str(key), col(LeaseRow.token) == token)
            await session.exec(ours.values(token=_NOBODY))

    async def clear_old(self) -> None:
        """Delete the leases of long ago."""
        async with self._database.write() as session:
            old = await self._database.now(session) - _KEPT
            await session.exec(delete(LeaseRow).where(col(LeaseRow.expires_at) < old))

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        """Write down the end that a key saw, once; returns the one that was written first."""
        async with self._database.write() as session:
            new = {"key": str(key), "uid": uid, "end": end}
            await self._database.insert_missing(session, SeenEndRow, [new])
            row = await session.get(SeenEndRow, (str(key), uid))
            assert row is not None  # inserted above
            return row.end
