"""Messages that asked for runs, as people look at them: page by page, one by its id, dead ones given up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import defer
from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.event_tables import TriggerEventRow
from meta.store.paging import read_token, token_of
from workflows.errors import Conflict, InvalidInput, MetaError, NotFound

_CHUNK = 500  # of a list of ids in one query; both databases limit the number of parameters
_PREFIX = "ev-"
_SHORTEST = 4  # characters of an id, beside its prefix; fewer are a slip of the finger


@dataclass(frozen=True, slots=True)
class EventPage:
    """`next_token` is empty on the last page."""

    events: list[TriggerEventRow]
    next_token: str


class EventLog:
    """What is known of messages; `meta.store.triggers` writes down what becomes of a message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, workflow: str = "", outcome: str = "", size: int = 50, token: str = "") -> EventPage:
        """Messages without their data, newest first.

        Raises:
            InvalidInput: the token is not one that an earlier page gave.
        """
        at = col(TriggerEventRow.received_at)
        query = select(TriggerEventRow).options(defer(TriggerEventRow.data, raiseload=True))  # pyright: ignore[reportArgumentType] -- an attribute of the mapped class
        query = query.order_by(at.desc(), col(TriggerEventRow.id).desc()).limit(size + 1)
        if workflow:
            query = query.where(TriggerEventRow.workflow == workflow)
        if outcome:
            query = query.where(TriggerEventRow.outcome == outcome)
        if token:
            last_at, last_id = read_token(token)
            query = query.where(or_(at < last_at, and_(at == last_at, col(TriggerEventRow.id) < last_id)))
        async with self._database.read() as session:
            rows = list((await session.exec(query)).all())
        more = len(rows) > size
        rows = rows[:size]
        return EventPage(rows, token_of(rows[-1].received_at, rows[-1].id) if more else "")

    async def get(self, event_id: str) -> TriggerEventRow:
        """One message with its data.

        Args:
            event_id: or the beginning of one, when there is no other that begins so.

        Raises:
            NotFound: none begins so.
            InvalidInput: several begin so, or it is too short.
        """
        async with self._database.read() as session:
            found = await session.get(TriggerEventRow, await self._whole(session, event_id))
        assert found is not None  # rows are never deleted
        return found

    async def resolve(self, event_ids: Sequence[str]) -> list[str]:
        """Whole ids for whole ones and beginnings, each once, in order.

        Raises:
            NotFound: as `get`.
            InvalidInput: as `get`.
        """
        async with self._database.read() as session:
            known = set[str]()
            for ids in (event_ids[at : at + _CHUNK] for at in range(0, len(event_ids), _CHUNK)):
                rows = await session.exec(select(TriggerEventRow.id).where(col(TriggerEventRow.id).in_(ids)))
                known.update(rows.all())
            whole = [one if one in known else await self._whole(session, one) for one in event_ids]
        return list(dict.fromkeys(whole))

    async def _whole(self, session: AsyncSession, event_id: str) -> str:
        wanted = event_id if event_id.startswith(_PREFIX) else _PREFIX + event_id
        if len(wanted) < len(_PREFIX) + _SHORTEST:
            raise InvalidInput(f"{event_id!r} is too short for an event", hint=f"give {_SHORTEST} characters or more")
        query = select(TriggerEventRow.id).where(col(TriggerEventRow.id).startswith(wanted, autoescape=True))
        found = list((await session.exec(query.order_by(TriggerEventRow.id).limit(5))).all())
        if not found:
            raise NotFound(f"no event {event_id!r}", hint="`meta events --all` lists what there are")
        if len(found) > 1 and wanted not in found:
            raise InvalidInput(f"{event_id!r} could be {', '.join(found)}", hint="give more of it")
        return wanted if wanted in found else found[0]

    async def dead(self, workflow: str = "") -> list[str]:
        """Ids of dead messages, oldest first; of one workflow, or of all."""
        query = select(TriggerEventRow.id).where(TriggerEventRow.outcome == "dead")
        if workflow:
            query = query.where(TriggerEventRow.workflow == workflow)
        async with self._database.read() as session:
            rows = await session.exec(query.order_by(col(TriggerEventRow.received_at), col(TriggerEventRow.id)))
            return list(rows.all())

    async def discard(self, event_ids: Collection[str]) -> int:
        """Give dead messages up: all of these or, on an error, none. One that is given up already stays so.

        Returns:
            How many were dead.

        Raises:
            Conflict: one has started a run, or waits for others.
            NotFound: there is none of an id.
        """
        async with self._database.write() as session:
            rows = [await self._locked(session, event_id) for event_id in sorted(event_ids)]
            for row in rows:
                if row.outcome == "started":
                    raise Conflict(f"event {row.id} has started run {row.run_id}", hint="`meta cancel` ends a run")
                if row.outcome not in ("dead", "discarded"):
                    raise Conflict(f"event {row.id} is {row.outcome}, not dead", hint="only dead events are given up")
            dead = [row for row in rows if row.outcome == "dead"]
            for row in dead:
                _discard(row)
        return len(dead)

    async def unwanted(self, event_id: str, reason: str) -> None:
        """Give a dead message up because nothing wants it any more; one that is not dead stays what it is."""
        async with self._database.write() as session:
            row = await self._locked(session, event_id)
            if row.outcome == "dead":
                _discard(row)
                row.code, row.reason, row.hint = "", reason, ""

    async def failed_again(self, event_id: str, error: MetaError) -> None:
        """Write down why a dead message still cannot start a run; one that is not dead stays what it is."""
        async with self._database.write() as session:
            row = await self._locked(session, event_id)
            if row.outcome == "dead":
                row.code, row.reason, row.hint = error.code, error.message, error.hint
                row.updated_at = datetime.now(UTC)

    async def let_go(self, event_id: str) -> None:
        """Let a message be dead again that was about to start a run and has not; there need be none of this id.

        Only for one that no redelivery comes for, and that waits for no others.
        """
        async with self._database.write() as session:
            row = await session.get(TriggerEventRow, event_id, with_for_update=True)
            if row is not None and row.outcome == "held" and row.batch is None:
                row.outcome, row.run_id = "dead", None
                row.updated_at = datetime.now(UTC)

    async def started(self, event_id: str, run_id: str) -> None:
        """Write down that a message has its run, also one that was given up meanwhile."""
        async with self._database.write() as session:
            row = await self._locked(session, event_id)
            if row.outcome != "started":
                row.outcome, row.run_id, row.data = "started", run_id, None
                row.code = row.reason = row.hint = ""
                row.updated_at = datetime.now(UTC)

    async def _locked(self, session: AsyncSession, event_id: str) -> TriggerEventRow:
        row = await session.get(TriggerEventRow, event_id, with_for_update=True)
        if row is None:
            raise NotFound(f"no event {event_id!r}", hint="`meta events --all` lists what there are")
        return row


def _discard(row: TriggerEventRow) -> None:
    row.outcome, row.data = "discarded", None
    row.updated_at = datetime.now(UTC)
