"""Which runs have news for whom: sinks that are to hear of every change of a run, as a collector of traces is.

A run is marked in the transaction that changes it, so none is missed. A service claims what is due for a while, tells
it, and settles; should it die in between, another claims it again and tells the same once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.tables import ExportRow

CLAIM_S = 60.0
"""Seconds after which another service may tell what one has claimed and not settled."""


@dataclass(frozen=True, slots=True)
class Due:
    """A run with news for a sink, claimed.

    Attributes:
        run_id: of the meta-run.
        revision: of the run when it was marked last.
        told: what the sink has.
        over: steps that the run's workflow has called ended; what an attempt says of its step's failure is not yet
            the end of the step.
        sending: what was about to be told when somebody was cut off; it is told as it was.
        until: the claim's end, which stands for the claim.
    """

    run_id: str
    revision: int
    told: list[str]
    over: list[str]
    sending: bytes | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a claim.

    Attributes:
        due: the claim.
        told: what the sink has got now, beside what it had.
        ended: the run has ended, and the sink has all of it.
        wait_s: look at the run again after so many seconds, though it has not changed; None: when it changes.
    """

    due: Due
    told: Sequence[str] = ()
    ended: bool = False
    wait_s: float | None = None


class Exports:
    """Runs that are due, by sink.

    Args:
        database: the store's.
        sinks: who is to hear of runs; with none, nothing is written.

    Attributes:
        added: by sink, an event that is set whenever this process has committed news.
    """

    def __init__(self, database: Database, sinks: Collection[str] = ()) -> None:
        self._database = database
        self.sinks = tuple(sinks)
        self.added = {sink: asyncio.Event() for sink in self.sinks}

    def rows(self, run_id: str, revision: int, over: Collection[str] = ()) -> list[dict[str, Any]]:
        """Rows that mark a run that nobody has heard of."""
        return [
            {"sink": sink, "run_id": run_id, "due": True, "revision": revision, "told": [], "over": sorted(over)}
            for sink in self.sinks
        ]

    async def mark(
        self, session: AsyncSession, run_id: str, revision: int, *, late: bool, over: Collection[str] = ()
    ) -> None:
        """A run has changed; in the transaction of the change.

        Args:
            session: of the change.
            run_id: of the meta-run.
            revision: after the change.
            late: the run had ended before; who has been told all of it hears no more.
            over: steps that the workflow calls ended.
        """
        if not self.sinks:
            return
        if not late:
            statement = self._database.insert_into(ExportRow)
            news = {"due": True, "revision": statement.excluded.revision}
            statement = statement.on_conflict_do_update(index_elements=["sink", "run_id"], set_=news)
            await session.flush()
            for row in self.rows(run_id, revision):
                await (await session.connection()).execute(statement, row)
        if late or over:
            known = select(ExportRow).where(ExportRow.run_id == run_id, col(ExportRow.sink).in_(self.sinks))
            for row in (await session.exec(known.with_for_update())).all():
                row.due, row.revision = True, revision
                row.over = sorted({*row.over, *over})
        event.listen(session.sync_session, "after_commit", self._tell, once=True)

    def tell(self) -> None:
        """This process has committed news."""
        for added in self.added.values():
            added.set()

    async def claim(self, sink: str, limit: int, seconds: float = CLAIM_S) -> list[Due]:
        """Take runs that are due; nobody else gets them for a while.

        Args:
            sink: who is to be told.
            limit: how many at most.
            seconds: how long.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        if not await self._database.ask(select(ExportRow.run_id).where(ExportRow.sink == sink, ExportRow.due).limit(1)):
            return []
        async with self._database.write() as session:
            now = await self._database.now(session)
            until = now + timedelta(seconds=seconds)
            free = or_(col(ExportRow.claimed_until).is_(None), col(ExportRow.claimed_until) <= now)
            query = (
                select(ExportRow)
                .where(ExportRow.sink == sink, ExportRow.due, free)
                .order_by(col(ExportRow.claimed_until).is_not(None), col(ExportRow.claimed_until))
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = (await session.exec(query)).all()
            for row in rows:
                row.claimed_until = until
            return [Due(row.run_id, row.revision, row.told, row.over, row.sending, until) for row in rows]

    async def freeze(self, sink: str, dues: Sequence[Due]) -> list[Due]:
        """Write down what is about to be told, so that a repeat says the same, whatever has changed meanwhile.

        Args:
            sink: who is to be told.
            dues: claims, with `sending`.

        Returns:
            Those that still stand.
        """
        if not dues:
            return []
        stand: list[Due] = []
        async with self._database.write() as session:
            for due in dues:
                row = await session.get(ExportRow, (sink, due.run_id), with_for_update=True)
                if row is not None and row.claimed_until == due.until:
                    row.sending = due.sending
                    stand.append(due)
        return stand

    async def settle(self, sink: str, run_id: str, revision: int, told: Sequence[str], ended: bool) -> None:
        """A sink has been told of a run up to a revision; without regard to whose claim it was.

        Args:
            sink: who was told.
            run_id: of the meta-run.
            revision: which was told; news that came later stay due.
            told: what the sink has got now, beside what it had.
            ended: the run has ended and the sink has all of it: the run is forgotten.
        """
        async with self._database.write() as session:
            row = await session.get(ExportRow, (sink, run_id), with_for_update=True)
            if row is not None:
                await _settle(session, row, revision, told, ended)

    async def settle_claims(self, sink: str, settled: Sequence[Settled]) -> None:
        """As `settle`, of many in one transaction, and only where the claim still stands, or the same was told."""
        if not settled:
            return
        async with self._database.write() as session:
            now = await self._database.now(session)
            for one in settled:
                if (row := await self._claimed(session, sink, one.due)) is None:
                    continue
                revision = one.due.revision if row.over == one.due.over else -1
                await _settle(session, row, revision, one.told, one.ended)
                if one.wait_s is not None and not one.ended:
                    row.due, row.claimed_until = True, now + timedelta(seconds=one.wait_s)

    async def release(self, sink: str, dues: Sequence[Due], wait_s: float = 0.0) -> None:
        """Give claims back untold; they are due again after so many seconds."""
        if not dues:
            return
        async with self._database.write() as session:
            now = await self._database.now(session)
            for due in dues:
                if (row := await self._claimed(session, sink, due)) is not None:
                    row.claimed_until = now + timedelta(seconds=wait_s) if wait_s else None

    async def open(self, sink: str) -> set[str]:
        """Ids of the runs that a sink has not been told all of; those that go on are among them."""
        return {row[0] for row in await self._database.ask(select(ExportRow.run_id).where(ExportRow.sink == sink))}

    async def _claimed(self, session: AsyncSession, sink: str, due: Due) -> ExportRow | None:
        row = await session.get(ExportRow, (sink, due.run_id), with_for_update=True)
        if row is None:
            return None
        same = due.sending is not None and row.sending == due.sending  # a slow one and its successor told the same
        return row if same or row.claimed_until == due.until else None

    def _tell(self, _session: Session) -> None:
        self.tell()


async def _settle(session: AsyncSession, row: ExportRow, revision: int, told: Sequence[str], ended: bool) -> None:
    news = row.revision > revision
    if ended and not news:
        await session.delete(row)
        return
    row.told = list(dict.fromkeys([*row.told, *told]))
    row.due, row.claimed_until, row.sending = news, None, None
