"""Brings the store's schema up to date. Safe when a service and several workers start at once."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from meta.store import tables
from meta.store.database import Database, sqlite_file
from workflows.errors import DataDirBroken

FOLDER = Path(__file__).with_name("migrations")
_ADVISORY_LOCK = 7_302_614_250  # any number that nothing else in the database uses


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER))
    return config


async def migrate(database: Database) -> None:
    """Create or upgrade the schema.

    Raises:
        DataDirBroken: the schema is of a newer version of this project.
        ServiceUnavailable: the database does not answer.
    """
    async with _lock(database), database.write() as session:
        connection = await session.connection()
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        await _upgrade(connection)


async def _upgrade(connection: AsyncConnection) -> None:
    try:
        await connection.run_sync(lambda c: command.upgrade(_config(c), "head"))
    except CommandError as error:
        raise DataDirBroken(
            f"the store's schema is not one of this version's: {error}",
            hint="it was made by a newer version: upgrade this one, or use another store",
        ) from error


@asynccontextmanager
async def _lock(database: Database) -> AsyncGenerator[None]:
    """Let one process of this machine migrate a SQLite file at a time, and switch it to WAL while alone."""
    file = sqlite_file(database.engine.url)
    if file is None:
        yield
        return
    handle = await asyncio.to_thread(_flock, file.with_name(file.name + ".migrate.lock"))
    try:
        await database.use_wal()
        yield
    finally:
        os.close(handle)


def _flock(file: Path) -> int:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def head() -> str:
    """The newest revision that this version knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


async def differences(database: Database) -> list[str]:
    """What the models say and the migrated schema does not; empty when they agree."""

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, tables.SQLModel.metadata)]

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def write_revision(database: Database, message: str, revision_id: str) -> Path:
    """Write the migration that takes the schema of `database` to what the models say now."""

    def generate(connection: Connection) -> Path:
        script = command.revision(_config(connection), message, autogenerate=True, rev_id=revision_id)
        assert script is not None
        assert not isinstance(script, list)
        return Path(script.path)

    async with database.engine.connect() as connection:
        return await connection.run_sync(generate)
