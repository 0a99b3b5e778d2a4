"""The outbox: life-cycle events, written in the transaction of the change that they tell of, until NATS has them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlmodel import and_, col, delete, func, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.envelope import described, envelope, subject_of
from meta.store.event_tables import OutboxRow, ReplyRow
from meta.store.outgoing import happenings, is_described
from meta.store.tables import RunRow
from workflows.messages import RunSnapshot
from workflows.outcome import RunState

_CHUNK = 500  # of a list of ids, or rows of one insert; both databases limit the number of parameters
_HELD = ""  # subject of an event whose run has not told of itself yet; it cannot go out


@dataclass(frozen=True, slots=True)
class OutboxSize:
    """How many events wait to be sent, and since when the oldest does."""

    count: int
    oldest: datetime | None


class Outbox:
    """Events in the order in which those of a run came to be: its row in `runs` is locked while they are written.

    Attributes:
        sampling: ratio of traces that are exported, which events say to whoever continues them.
        added: set whenever this process has committed events.
    """

    def __init__(self, database: Database, sampling: float = 1.0) -> None:
        self._database = database
        self.sampling = sampling
        self.added = asyncio.Event()

    async def add(
        self, session: AsyncSession, before: RunSnapshot | None, after: RunSnapshot, final: Collection[str] | None
    ) -> None:
        """Write down what a change of a run is worth telling, in the transaction of the change.

        A run's rows stay until it has ended, so what was said before is not said again.

        Args:
            session: of the change.
            before: see `happenings`.
            after: see `happenings`.
            final: see `happenings`.
        """
        if before is not None and before.state.ended:
            return
        said: Sequence[str] = []
        if before is not None:
            said = (await session.exec(select(OutboxRow.event_id).where(OutboxRow.run_id == after.id))).all()
        released = before is not None and is_described(after) and not is_described(before)
        if released:
            await self._describe(session, after)
        rows = rows_of(before, after, final, said=said, sampling=self.sampling)
        for at in range(0, len(rows), _CHUNK):
            await self._database.insert_missing(session, OutboxRow, rows[at : at + _CHUNK])
        if rows or released:
            event.listen(session.sync_session, "after_commit", self._tell, once=True)

    async def unsent(self, limit: int, without: Collection[str] = ()) -> list[OutboxRow]:
        """The oldest events that are to go out.

        Args:
            limit: how many at most.
            without: runs to leave out.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        query = select(OutboxRow).where(col(OutboxRow.sent_at).is_(None), OutboxRow.subject != _HELD)
        if without:
            query = query.where(col(OutboxRow.run_id).not_in(without))
        async with self._database.read() as session:
            return list((await session.exec(query.order_by(col(OutboxRow.seq)).limit(limit))).all())

    async def mark_sent(self, seqs: Sequence[int]) -> None:
        """NATS has these events.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        now = datetime.now(UTC)
        async with self._database.write() as session:
            for at in range(0, len(seqs), _CHUNK):
                these = col(OutboxRow.seq).in_(seqs[at : at + _CHUNK])
                await session.exec(update(OutboxRow).where(these).values(sent_at=now))

    async def replies(self, run_ids: Collection[str]) -> dict[str, list[ReplyRow]]:
        """Where else the events of these runs go, by run."""
        found: dict[str, list[ReplyRow]] = {}
        listed = list(run_ids)
        async with self._database.read() as session:
            for at in range(0, len(listed), _CHUNK):
                query = select(ReplyRow).where(col(ReplyRow.run_id).in_(listed[at : at + _CHUNK]))
                for row in (await session.exec(query.order_by(col(ReplyRow.subject)))).all():
                    found.setdefault(row.run_id, []).append(row)
        return found

    async def size(self) -> OutboxSize:
        """How much waits to be sent."""
        query = select(func.count(), func.min(OutboxRow.created_at)).where(
            col(OutboxRow.sent_at).is_(None), OutboxRow.subject != _HELD
        )
        async with self._database.read() as session:
            count, oldest = (await session.exec(query)).one()
        return OutboxSize(count, oldest)

    async def clear(self, age: timedelta, chunk: int = 1000) -> int:
        """Delete what was sent so long ago, of runs that have ended so long ago, and where their events went besides.

        It goes in small transactions, which others can come between.

        Returns:
            How many events were deleted.
        """
        old = datetime.now(UTC) - age
        running = select(RunRow.id).where(RunRow.state == RunState.RUNNING.value)
        late = select(RunRow.id).where(col(RunRow.finished_at) >= old)
        never = and_(OutboxRow.subject == _HELD, col(OutboxRow.created_at) < old)
        events = select(OutboxRow.seq).where(
            or_(col(OutboxRow.sent_at) < old, never),
            col(OutboxRow.run_id).not_in(running),
            col(OutboxRow.run_id).not_in(late),
        )
        deleted = 0
        while True:
            async with self._database.write() as session:
                found = (await session.exec(events.limit(chunk))).all()
                await session.exec(delete(OutboxRow).where(col(OutboxRow.seq).in_(found)))
            deleted += len(found)
            if len(found) < chunk:
                break
        unsent = select(OutboxRow.run_id).where(col(OutboxRow.sent_at).is_(None))
        done = select(RunRow.id).where(col(RunRow.finished_at) < old)
        async with self._database.write() as session:
            await session.exec(
                delete(ReplyRow).where(col(ReplyRow.run_id).in_(done), col(ReplyRow.run_id).not_in(unsent))
            )
        return deleted

    def _tell(self, _session: Session) -> None:
        self.added.set()

    async def _describe(self, session: AsyncSession, run: RunSnapshot) -> None:
        """Let events go that were written before their run had told of itself."""
        held = select(OutboxRow).where(OutboxRow.run_id == run.id, OutboxRow.subject == _HELD)
        for row in (await session.exec(held)).all():
            row.workflow = run.workflow
            row.subject = subject_of(run.workflow, run.id, row.what)
            row.event = described(row.event, run, self.sampling)


def rows_of(
    before: RunSnapshot | None,
    after: RunSnapshot,
    final: Collection[str] | None,
    *,
    said: Collection[str],
    sampling: float = 1.0,
) -> list[dict[str, Any]]:
    """What a change of a run is worth telling, as rows; see `happenings`."""
    now = datetime.now(UTC)
    return [
        {
            "event_id": one.id(after.id),
            "run_id": after.id,
            "workflow": after.workflow,
            "what": one.what,
            "subject": subject_of(after.workflow, after.id, one.what) if is_described(after) else _HELD,
            "event": envelope(after, one, sequence, sampling),
            "created_at": now,
        }
        for sequence, one in enumerate(happenings(before, after, final, said=said, now=now), len(said) + 1)
    ]
