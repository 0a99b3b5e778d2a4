"""Messages that asked for runs, and where the events of their runs go besides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, func, select

from meta.store.database import Database
from meta.store.event_tables import ReplyRow, TriggerEventRow
from workflows.values import JsonObject

_SETTLED = ("started",)
"""Outcomes that stand: a message that started a run never becomes anything else."""

MANY = 500
"""Rows of one statement; databases bound the parameters, and a row has some twenty."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """What became of a message; see `TriggerEventRow`.

    Attributes:
        identity: with the workflow, who the message is.
        outcome: started, held, dead, discarded.
        data: its bytes, for one that is held or dead.
        batch: identity of the run that it becomes with others.
    """

    workflow: str
    trigger: str
    identity: str
    source: str
    subject: str
    outcome: str
    run_id: str = ""
    code: str = ""
    reason: str = ""
    hint: str = ""
    deliveries: int = 1
    digest: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    data: bytes | None = None
    batch: str = ""
    event_time: datetime | None = None

    @property
    def id(self) -> str:
        return event_row_id(self.workflow, self.identity)


def event_row_id(workflow: str, identity: str) -> str:
    """Short id of a message, for people to type."""
    return "ev-" + hashlib.sha256(f"{workflow}\n{identity}".encode(errors="surrogatepass")).hexdigest()[:12]


def event_values(record: EventRecord, now: datetime) -> dict[str, Any]:
    """A record as a row that is new."""
    return {
        "id": record.id,
        "source": record.source,
        "subject": record.subject,
        "workflow": record.workflow,
        "trigger": record.trigger,
        "identity": record.identity,
        "run_id": record.run_id or None,
        "outcome": record.outcome,
        "code": record.code,
        "reason": record.reason,
        "hint": record.hint,
        "deliveries": record.deliveries,
        "digest": record.digest,
        "headers": dict(record.headers),
        "data": record.data,
        "batch": record.batch or None,
        "event_time": record.event_time,
        "received_at": now,
        "updated_at": now,
    }


def replace_row(known: TriggerEventRow, row: Mapping[str, Any]) -> None:
    """Let a later word on a message replace an earlier one; the batch that it was in stays.

    The earlier word stands when the message has started a run; and when it is held, and the later word is that a copy
    of it is dead which tells something else, or came when its batch was made already.
    """
    copy_is_dead = row["outcome"] == "dead" and (known.batch or known.digest != row["digest"])
    if known.outcome in _SETTLED or (known.outcome == "held" and copy_is_dead):
        return
    for name, value in row.items():
        if name not in ("id", "received_at") and (name != "batch" or value is not None):
            setattr(known, name, value)


class TriggerEvents:
    """What became of each message. A message that has started a run stays so; any other word gives way to a later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, record: EventRecord) -> None:
        """Write down what became of a message, unless what was known before stands (see `replace_row`).

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        await self.put_all([record])

    async def mark(self, record: EventRecord) -> bool:
        """Write down that a message is dead, unless it starts a run after all; what else is known of it stays.

        Returns:
            False when that was written down before, with the same reason.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        row = event_values(record, datetime.now(UTC))
        async with self._database.write() as session:
            if await self._database.insert_missing(session, TriggerEventRow, [row]):
                return True
            known = await session.get(TriggerEventRow, record.id, with_for_update=True)
            assert known is not None  # inserted by somebody before, and rows are never deleted
            if known.outcome in _SETTLED or known.digest != record.digest:
                return True  # not this message's, or a copy of it
            if known.reason == record.reason:
                return False
            known.code, known.reason, known.hint = record.code, record.reason, record.hint
            known.updated_at = row["updated_at"]
            return True

    async def unmark(self, workflow: str, identity: str, reason: str) -> None:
        """Take back what `mark` wrote, unless another word came after it.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        async with self._database.write() as session:
            row = await session.get(TriggerEventRow, event_row_id(workflow, identity), with_for_update=True)
            if row is not None and row.outcome not in _SETTLED and row.reason == reason:
                row.reason, row.hint = "it is about to be handled again", ""

    async def put_all(self, records: Sequence[EventRecord]) -> None:
        """Write down what became of many messages at once: of all or none.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        now = datetime.now(UTC)
        # One order everywhere, so that two who write the same rows wait for each other and not in a circle.
        rows = {record.id: event_values(record, now) for record in sorted(records, key=lambda r: r.id)}
        ids = list(rows)

        def write(session: Session) -> None:
            for at in range(0, len(ids), MANY):
                some = ids[at : at + MANY]
                new = self._database.insert_ids(session, TriggerEventRow, [rows[i] for i in some])
                if len(new) == len(some):
                    continue
                query = select(TriggerEventRow).where(col(TriggerEventRow.id).in_(set(some) - new))
                for known in session.exec(query.order_by(TriggerEventRow.id).with_for_update()).all():
                    replace_row(known, rows[known.id])

        await self._database.transact(write)

    async def find(self, workflow: str, identity: str) -> TriggerEventRow | None:
        """What is known of a message."""
        async with self._database.read() as session:
            return await session.get(TriggerEventRow, event_row_id(workflow, identity))

    async def find_among(self, workflows: Iterable[str], identities: Iterable[str]) -> Sequence[TriggerEventRow]:
        """What is known of messages of which it is open which of some workflows they met."""
        ids = {event_row_id(workflow, identity) for workflow in workflows for identity in identities}
        async with self._database.read() as session:
            return (await session.exec(select(TriggerEventRow).where(col(TriggerEventRow.id).in_(ids)))).all()

    async def again(self, workflow: str, identity: str) -> None:
        """Note that a known message was published once more."""
        async with self._database.write() as session:
            row = await session.get(TriggerEventRow, event_row_id(workflow, identity), with_for_update=True)
            if row is not None:
                row.deliveries += 1
                row.updated_at = datetime.now(UTC)

    async def list(self, workflow: str = "", limit: int = 100) -> list[TriggerEventRow]:
        """Messages, newest first."""
        query = select(TriggerEventRow).order_by(col(TriggerEventRow.received_at).desc()).limit(limit)
        if workflow:
            query = query.where(TriggerEventRow.workflow == workflow)
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def dead(self) -> dict[tuple[str, str], int]:
        """How many messages are dead, and wait for somebody to try them again or give them up; by workflow, trigger."""
        query = select(TriggerEventRow.workflow, TriggerEventRow.trigger, func.count())
        query = query.where(TriggerEventRow.outcome == "dead")
        rows = await self._database.ask(query.group_by(col(TriggerEventRow.workflow), col(TriggerEventRow.trigger)))
        return {(workflow, trigger): count for workflow, trigger, count in rows}

    async def add_reply(self, run_id: str, subject: str, form: str, context: JsonObject) -> None:
        """Let the events of a run go to one more subject; a repeat is fine.

        Args:
            run_id: the run, which need not be there yet.
            subject: to publish on.
            form: cloudevents or bridge.
            context: what the form needs to know of the request.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        row: dict[str, Any] = {
            "run_id": run_id,
            "subject": subject,
            "format": form,
            "context": context,
            "created_at": datetime.now(UTC),
        }
        async with self._database.write() as session:
            await self._database.insert_missing(session, ReplyRow, [row])
