"""Messages that wait for others to become one run with them, and the batches that they are put into."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select as select_columns
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.event_tables import TriggerEventRow, TriggerGateRow
from meta.store.tables import RunRow
from meta.store.triggers import MANY, EventRecord, event_values
from workflows.errors import MetaError

_Row = TriggerEventRow


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is held.

    Attributes:
        batch: that it was put into; empty while it waits for others.
        seen_at: when somebody last said that they see to its batch.
    """

    id: str
    identity: str
    received_at: datetime
    batch: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class NewBatch:
    """Messages that become one run under an identity."""

    identity: str
    members: Sequence[Held]


class Gathering:
    """Held messages. One transaction puts one into a batch, and nothing takes it out or puts another in afterwards.

    The clock is its callers', and the order of messages is that of their receipt by it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hold(self, messages: Sequence[tuple[EventRecord, datetime]]) -> dict[str, TriggerEventRow]:
        """Hold messages, or find what is known of them; all in one transaction.

        One that is dead or was discarded is held again when it was published again, and not when it is only delivered
        again.

        Args:
            messages: with the instant of their receipt; one may be among them more than once.

        Returns:
            Their rows as they stand now, by id.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        rows: dict[str, dict[str, Any]] = {}
        for record, at in messages:
            row = rows.setdefault(record.id, event_values(record, at))
            row["deliveries"] = max(row["deliveries"], record.deliveries)
        found: dict[str, TriggerEventRow] = {}
        inserted = set[str]()
        async with self._database.write() as session:
            for some in _chunks(sorted(rows)):  # in one order, so that two who hold the same do not wait in a circle
                new = await self._database.insert_new(session, _Row, [rows[i] for i in some])
                inserted |= new
                found |= {i: _Row(**rows[i]) for i in new}
                if len(new) < len(some):
                    known = select(_Row).where(col(_Row.id).in_(set(some) - new)).order_by(_Row.id).with_for_update()
                    found |= {row.id: row for row in (await session.exec(known)).all()}
            for record, at in messages:
                if record.id not in inserted:
                    await self._hold_again(session, found[record.id], record, at)
        return found

    async def _hold_again(
        self, session: AsyncSession, known: TriggerEventRow, record: EventRecord, at: datetime
    ) -> None:
        if known.outcome == "held":
            known.deliveries = max(known.deliveries, record.deliveries)
            if known.run_id and not known.batch:
                await self._gather_in(session, known, at)
        elif known.outcome != "started" and not _delivered_again(known, record):
            for name, value in event_values(record, at).items():
                setattr(known, name, value)

    async def held(self, workflow: str, trigger: str) -> list[Held]:
        """All that is held of a trigger, in order of receipt."""
        async with self._database.read() as session:
            return await self._held(session, workflow, trigger)

    async def assign(
        self, workflow: str, trigger: str, choose: Callable[[Sequence[Held]], Sequence[NewBatch]], at: datetime
    ) -> list[str]:
        """Put messages into batches, in one transaction that no other of the same trigger overlaps.

        Args:
            workflow: whose trigger it is.
            trigger: its key.
            choose: says which of those that wait, in order of receipt, belong together.
            at: now.

        Returns:
            Identities of the batches that were made.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        gate: dict[str, Any] = {"workflow": workflow, "trigger": trigger, "next_at": at}
        async with self._database.write() as session:
            await self._database.insert_missing(session, TriggerGateRow, [gate])
            await session.get(TriggerGateRow, (workflow, trigger), with_for_update=True)
            batches = choose([h for h in await self._held(session, workflow, trigger) if not h.batch])
            for batch in batches:
                ids = [member.id for member in batch.members]
                for some in _chunks(ids):
                    ours = update(_Row).where(col(_Row.id).in_(some), col(_Row.outcome) == "held")
                    await session.exec(ours.values(batch=batch.identity, updated_at=at))
            return [batch.identity for batch in batches]

    async def claim(self, workflow: str, batch: str, at: datetime, silent_since: datetime) -> bool:
        """Take over a batch that nobody has seen to since an instant. A thrift only: two may see to one batch."""
        return await self._see(workflow, batch, at, silent_since)

    async def renew(self, workflow: str, batch: str, at: datetime) -> None:
        """Say that the batch is seen to."""
        await self._see(workflow, batch, at, at)

    async def members(self, workflow: str, batch: str) -> list[TriggerEventRow]:
        """The messages of a batch that has not started yet, in order of receipt; none when it has, or is dead."""
        query = select(_Row).where(_Row.workflow == workflow, _Row.batch == batch, _Row.outcome == "held")
        async with self._database.read() as session:
            return list((await session.exec(query.order_by(*_ORDER))).all())

    async def find(self, ids: Collection[str]) -> list[TriggerEventRow]:
        """Messages by the ids of their rows."""
        found = list[TriggerEventRow]()
        async with self._database.read() as session:
            for some in _chunks(list(ids)):
                found += (await session.exec(select(_Row).where(col(_Row.id).in_(some)))).all()
        return found

    async def started(self, workflow: str, batch: str, run_id: str, at: datetime) -> None:
        """The batch has become a run."""
        await self._end(workflow, batch, {"outcome": "started", "run_id": run_id, "data": None, "updated_at": at})

    async def bury(self, workflow: str, batch: str, error: MetaError, at: datetime) -> None:
        """The batch can never start: its messages are dead, and keep their bytes."""
        await self._end(workflow, batch, _dead(error, at))

    async def bury_waiting(self, workflow: str, trigger: str, error: MetaError, at: datetime) -> None:
        """Nobody gathers for this trigger any more: what waits in no batch is dead, and keeps its bytes."""
        waits = update(_Row).where(
            col(_Row.workflow) == workflow,
            col(_Row.trigger) == trigger,
            col(_Row.outcome) == "held",
            col(_Row.batch).is_(None),
            col(_Row.run_id).is_(None),
        )
        async with self._database.write() as session:
            await session.exec(waits.values(**_dead(error, at)))

    async def _gather_in(self, session: AsyncSession, known: TriggerEventRow, at: datetime) -> None:
        """Its trigger did not gather when the message was to start a run of its own: that has started, or not."""
        if await session.get(RunRow, known.run_id) is not None:
            known.outcome, known.data = "started", None
        else:
            known.run_id, known.received_at = None, at
        known.updated_at = at

    async def _end(self, workflow: str, batch: str, row: dict[str, Any]) -> None:
        ours = update(_Row).where(col(_Row.workflow) == workflow, col(_Row.batch) == batch, col(_Row.outcome) == "held")
        async with self._database.write() as session:
            await session.exec(ours.values(**row))

    async def _see(self, workflow: str, batch: str, at: datetime, before: datetime) -> bool:
        silent = update(_Row).where(
            col(_Row.workflow) == workflow,
            col(_Row.batch) == batch,
            col(_Row.outcome) == "held",
            col(_Row.updated_at) <= before,
        )
        async with self._database.write() as session:
            return (await session.exec(silent.values(updated_at=at))).rowcount > 0

    async def _held(self, session: AsyncSession, workflow: str, trigger: str) -> list[Held]:
        query = (
            select_columns(
                col(_Row.id), col(_Row.identity), col(_Row.received_at), col(_Row.batch), col(_Row.updated_at)
            )
            .where(col(_Row.workflow) == workflow, col(_Row.trigger) == trigger, col(_Row.outcome) == "held")
            .where(col(_Row.batch).is_not(None) | col(_Row.run_id).is_(None))  # others are to start runs of their own
            .order_by(*_ORDER)
        )  # not their data: this is looked at often
        rows = (await (await session.connection()).execute(query)).all()
        return [Held(row[0], row[1], row[2], row[3] or "", row[4] or row[2]) for row in rows]


_ORDER = (col(_Row.received_at), col(_Row.event_time), col(_Row.id))
"""Of receipt; when two services received two messages at one instant, the order in which the server stored them."""


def _delivered_again(known: TriggerEventRow, record: EventRecord) -> bool:
    """Whether it is the very copy of the message that is known. A time of the event's own is the same in all copies."""
    return record.deliveries > 1 and known.event_time == record.event_time


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + MANY] for start in range(0, len(ids), MANY))


def _dead(error: MetaError, at: datetime) -> dict[str, Any]:
    return {"outcome": "dead", "code": error.code, "reason": error.message, "hint": error.hint, "updated_at": at}
