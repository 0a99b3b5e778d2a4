"""The triggers of published definitions, and how each one stands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, delete, select

from meta.store.database import Database
from meta.store.event_tables import TriggerRow
from workflows.spec.subjects import covers
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class DeclaredTrigger:
    """A trigger as the newest version of a definition has it.

    Attributes:
        published_at: of that version.
    """

    workflow: str
    name: str
    subject: str
    consumer: str
    spec: JsonObject
    published_at: datetime


@dataclass(frozen=True, slots=True)
class TriggerState:
    """How a trigger stands.

    Attributes:
        state: active, failing.
        stream: that is read; empty leaves what is known.
        pending: messages that no service has had.
        unacknowledged: messages that services have.
    """

    workflow: str
    name: str
    state: str
    message: str = ""
    hint: str = ""
    stream: str = ""
    pending: int | None = None
    unacknowledged: int | None = None


class TriggerStates:
    """Triggers by workflow and key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[TriggerRow]:
        """All triggers, by workflow and name."""
        async with self._database.read() as session:
            rows = await session.exec(select(TriggerRow).order_by(TriggerRow.workflow, TriggerRow.name))
            return list(rows.all())

    async def declare(self, triggers: Sequence[DeclaredTrigger]) -> None:
        """Write down triggers that are new or have changed.

        One whose subject takes in more than before begins anew: what was stored there before it asked for it starts
        nothing.
        """
        async with self._database.write() as session:
            for one in triggers:
                values: dict[str, Any] = {
                    "workflow": one.workflow,
                    "name": one.name,
                    "subject": one.subject,
                    "consumer": one.consumer,
                    "spec": one.spec,
                    "since": one.published_at,
                    "updated_at": datetime.now(UTC),
                }
                new = values | {"stream": "", "state": "", "message": "", "hint": ""}
                if await self._database.insert_missing(session, TriggerRow, [new]):
                    continue
                row = await session.get(TriggerRow, (one.workflow, one.name), with_for_update=True)
                if row is None:
                    continue  # removed at this moment; the next look declares it again
                if not covers(row.subject, one.subject) or row.spec.get("stream") != one.spec.get("stream"):
                    row.since = one.published_at
                row.subject, row.consumer, row.spec = one.subject, one.consumer, one.spec

    async def remove(self, workflow: str, name: str) -> None:
        """Forget a trigger whose consumer has been deleted."""
        async with self._database.write() as session:
            await session.exec(
                delete(TriggerRow).where(col(TriggerRow.workflow) == workflow, col(TriggerRow.name) == name)
            )

    async def report(self, states: Collection[TriggerState], *, unless_said_after: datetime | None = None) -> None:
        """Write down how triggers stand.

        Args:
            states: of triggers; those that are no longer there are left out.
            unless_said_after: leave alone what somebody has said since then: another service may be better off.
        """
        async with self._database.write() as session:
            for one in states:
                row = await session.get(TriggerRow, (one.workflow, one.name), with_for_update=True)
                if row is None or (unless_said_after is not None and row.state and row.updated_at > unless_said_after):
                    continue
                row.state, row.message, row.hint = one.state, one.message, one.hint
                row.stream = one.stream or row.stream
                row.pending, row.unacknowledged = one.pending, one.unacknowledged
                row.updated_at = datetime.now(UTC)
