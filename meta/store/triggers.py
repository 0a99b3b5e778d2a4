"""Messages that asked for runs."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import col, select

from meta.store.database import Database
from meta.store.tables import TriggerEventRow


class TriggerEvents:
    """What became of each message; the first word on a message stands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self,
        event_id: str,
        *,
        source: str,
        subject: str,
        workflow: str,
        outcome: str,
        run_id: str = "",
        reason: str = "",
    ) -> bool:
        """Write down what became of a message.

        Args:
            event_id: the message's identity, the same on every delivery.
            source: where it came from: `nats`.
            subject: its subject.
            workflow: what it asked for.
            outcome: `started` or `dead`.
            run_id: the run that it started.
            reason: why it could not start one.

        Returns:
            False when it was written down before.
        """
        row = {
            "id": event_id,
            "source": source,
            "subject": subject,
            "workflow": workflow,
            "run_id": run_id or None,
            "outcome": outcome,
            "reason": reason,
            "received_at": datetime.now(UTC),
        }
        async with self._database.write() as session:
            return bool(await self._database.insert_missing(session, TriggerEventRow, [row]))

    async def list(self, workflow: str = "", limit: int = 100) -> list[TriggerEventRow]:
        """Messages, newest first."""
        query = select(TriggerEventRow).order_by(col(TriggerEventRow.received_at).desc()).limit(limit)
        if workflow:
            query = query.where(TriggerEventRow.workflow == workflow)
        async with self._database.read() as session:
            return list((await session.exec(query)).all())
