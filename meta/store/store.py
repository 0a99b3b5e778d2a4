"""The store as one object, for the service and for workers."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from meta.store.bundles import Bundles, Workflows
from meta.store.database import Database, make_engine, parse_url
from meta.store.migrate import migrate
from meta.store.recorder import LineageRecorder
from meta.store.runs import Runs
from meta.store.triggers import TriggerEvents
from workflows.bundle import Bundle
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome


class Store:
    """Everything that is kept, by concept; itself a BundleStore and a Recorder (`workers.ports`)."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.bundles = Bundles(database)
        self.workflows = Workflows(database)
        self.runs = Runs(database)
        self.recorder = LineageRecorder(database, self.runs)
        self.triggers = TriggerEvents(database)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and bring the schema up to date.

        Args:
            url: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://user:password@host/name`.

        Raises:
            SettingsInvalid: not such an address.
            DataDirBroken: the file cannot be made, is damaged, or was written by a newer version.
            ServiceUnavailable: the database does not answer.
        """
        database = Database(make_engine(parse_url(url)))
        try:
            await migrate(database)
        except BaseException:
            await database.engine.dispose()
            raise
        return cls(database)

    async def close(self) -> None:
        await self.database.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, digest: str) -> Bundle:
        """See `Bundles.get`."""
        return await self.bundles.get(digest)

    async def attempt_submitted(self, workflow: str, key: RunKey, ref: EngineRunRef, at: datetime) -> None:
        """See `LineageRecorder.attempt_submitted`."""
        await self.recorder.attempt_submitted(workflow, key, ref, at)

    async def attempt_ended(
        self, workflow: str, key: RunKey, ref: EngineRunRef, outcome: Outcome, at: datetime
    ) -> None:
        """See `LineageRecorder.attempt_ended`."""
        await self.recorder.attempt_ended(workflow, key, ref, outcome, at)

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        """See `LineageRecorder.attempt_cut`."""
        await self.recorder.attempt_cut(key, failure, message)

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """See `LineageRecorder.snapshot`."""
        await self.recorder.snapshot(snapshot)
