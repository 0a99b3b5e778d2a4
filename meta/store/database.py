"""Connections: one asynchronous engine, read and write transactions, and the pragmas that SQLite needs.

The service and the worker write to the same SQLite file. Every write transaction begins IMMEDIATE: in WAL mode a
deferred one that reads first is refused at its first write when another process wrote in between, and no busy
time-out helps against that.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeVar, cast

import aiosqlite
from aiosqlite.core import _connection_worker_thread  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
from sqlalchemy import Connection, Engine, Executable, String, column, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session as AnySession
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from workflows.errors import DataDirBroken, ServiceUnavailable, SettingsInvalid

BUSY_TIMEOUT_MS = 15_000
_CLOSE_SECONDS = 2.0
_T = TypeVar("_T")
_SCHEMES = ("sqlite+aiosqlite", "postgresql+asyncpg")


def parse_url(url: str) -> URL:
    """Check the address of a store.

    Raises:
        SettingsInvalid: another scheme than the two that the store speaks.
    """
    hint = "use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user:password@host/name"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsInvalid("store.url is not a database address", hint=hint) from error
    if parsed.drivername not in _SCHEMES:
        raise SettingsInvalid(f"store.url has the scheme {parsed.drivername!r}", hint=hint)
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite store; None for PostgreSQL and for a store in memory."""
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _make_engine(url: URL, drivers: _Drivers) -> AsyncEngine:
    if (file := sqlite_file(url)) is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirBroken(
                f"no folder for the store at {file}: {error}", hint="make it writable, or name another in store.url"
            ) from error
        engine = create_async_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "async_creator_fn": drivers.open}
        )
    else:
        engine = create_async_engine(url, pool_pre_ping=not url.drivername.startswith("sqlite"))
    if url.drivername.startswith("sqlite"):
        event.listen(engine.sync_engine, "connect", _sqlite_connect)
        event.listen(engine.sync_engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we begin ourselves; the driver would begin late, and deferred
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA synchronous=NORMAL")  # WAL: a power cut may lose the last commits, never the file
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


class _Driver(aiosqlite.Connection):
    """A connection to SQLite that can be told to stop any number of times.

    When a statement is cancelled, SQLAlchemy closes the connection in one task and stops it in another. The driver's
    thread answers the first stop and ends; whoever waits for the answer to a second one waits for ever.
    """

    _told = False

    @classmethod
    def open(cls, database: str, **options: Any) -> Self:
        """As `aiosqlite.connect`, with a thread that does not hold the process up."""
        connection = cls(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
        connection._thread = Thread(target=connection._work, name="sqlite connection", daemon=True)
        return connection

    def _work(self) -> None:
        """In its thread. When the loop has gone meanwhile, nobody waits for an answer, and the connection is closed."""
        try:
            _connection_worker_thread(self._tx)
        except RuntimeError:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Let the thread close the connection and end; the future is for the first caller alone."""
        if self._told:
            return None
        self._told = True
        return cast("asyncio.Future[Any] | None", super().stop())

    @property
    def is_open(self) -> bool:
        """Whether its thread runs: until that has ended it may answer to the loop, which has to be there."""
        return self._thread.is_alive()


class _Drivers:
    """The connections to a SQLite file, kept until their threads have ended.

    After a cancelled statement the pool lets go of a connection whose thread has yet to close it, and after a cancelled
    connect it never hears of it. The driver warns of one that is collected before, and its thread of a loop that is.
    """

    def __init__(self) -> None:
        self._open: set[_Driver] = set()

    def open(self, database: str, **options: Any) -> _Driver:
        """As `aiosqlite.connect`."""
        self._forget()
        driver = _Driver.open(database, **options)
        self._open.add(driver)
        return driver

    async def closed(self) -> None:
        """Wait a moment for those that the pool has told to close, and then tell the others."""
        for _ in range(2):
            deadline = asyncio.get_running_loop().time() + _CLOSE_SECONDS
            while self._forget() and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.001)
            for connection in self._open:
                connection.stop()

    def _forget(self) -> bool:
        self._open = {connection for connection in self._open if connection.is_open}
        return bool(self._open)


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("meta_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _make_direct(url: URL) -> Engine | None:
    """For work in a thread. Each call to aiosqlite goes to its thread and back, and a session makes ten of them."""
    if sqlite_file(url) is None:
        return None
    arguments = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
    direct = create_engine(url.set(drivername="sqlite"), connect_args=arguments)
    event.listen(direct, "connect", _sqlite_connect)
    event.listen(direct, "begin", _sqlite_begin)
    return direct


def _rows(engine: Engine, query: Executable) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def _transact(engine: Engine, work: Callable[[Session], _T]) -> _T:
    with Session(engine.execution_options(meta_write=True), expire_on_commit=False) as session, session.begin():
        return work(session)


class Database:
    """Transactions on one engine; no connection is made before the first.

    Args:
        url: where the database is, as `parse_url` gives it.

    Raises:
        DataDirBroken: the folder of the SQLite file cannot be made.
    """

    def __init__(self, url: URL) -> None:
        self._drivers = _Drivers()
        self.engine = engine = _make_engine(url, self._drivers)
        self._writer = engine.execution_options(meta_write=True)
        self._direct = _make_direct(url)
        # SQLite has one writer, and those who wait for it only look now and then: within a process they stand in line.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        """A session for reading.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        with _unavailable():
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                yield session

    async def ask(self, query: Executable) -> list[tuple[Any, ...]]:
        """Rows of one query of columns, on its own: what is asked for each message costs a fraction of a session so.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        with _unavailable():
            if self._direct is not None:
                return await asyncio.to_thread(_rows, self._direct, query)
            async with self.engine.connect() as connection:
                return [tuple(row) for row in await connection.execute(query)]

    async def close(self) -> None:
        """Close all connections."""
        if self._direct is not None:
            self._direct.dispose()
        await self.engine.dispose()
        await self._drivers.closed()

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """A session in a write transaction, committed at the end, rolled back on an error.

        Raises:
            ServiceUnavailable: the database does not answer, or stays locked beyond the busy time-out.
        """
        with _unavailable():
            async with self._turn, AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                yield session

    async def transact(self, work: Callable[[Session], _T]) -> _T:
        """Write in a transaction that is one function: what is written for each message costs a fraction so.

        Args:
            work: the reads and writes; it runs in a thread, waits for nothing else, and takes all back by raising.

        Raises:
            ServiceUnavailable: the database does not answer, or stays locked beyond the busy time-out.
        """
        if self._direct is None:
            async with self.write() as session:
                return await session.run_sync(lambda _: work(session.sync_session))
        with _unavailable():
            async with self._turn:
                running = asyncio.get_running_loop().run_in_executor(None, _transact, self._direct, work)
                try:
                    return await asyncio.shield(running)
                except asyncio.CancelledError:
                    await asyncio.wait([running])  # the turn is over when the transaction is
                    raise

    async def now(self, session: AsyncSession) -> datetime:
        """The time: the database's own where machines share it, and the machine's where the store is a file."""
        if self.engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        now = (await (await session.connection()).execute(text("SELECT clock_timestamp()"))).scalar_one()
        assert isinstance(now, datetime)
        return now

    async def use_wal(self) -> None:
        """Switch a SQLite file to write-ahead logging, which it remembers; no other connection may be open.

        Raises:
            DataDirBroken: the file is no database.
        """
        with _unavailable():
            async with self.engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                assert isinstance(raw, aiosqlite.Connection)
                await (await raw.execute("PRAGMA journal_mode=WAL")).close()  # not allowed inside a transaction

    async def insert_missing(self, session: AsyncSession, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> int:
        """Insert what is not there yet; rows whose key or unique columns exist stay as they are.

        Returns:
            How many rows were inserted.
        """
        if not rows:
            return 0
        return await session.run_sync(lambda plain: self.insert(plain, table, rows))

    async def insert_new(
        self, session: AsyncSession, table: type[SQLModel], rows: Sequence[dict[str, Any]]
    ) -> set[str]:
        """As `insert_missing`, for many rows; returns the ids (column `id`) of those that were inserted."""
        if not rows:
            return set()
        return await session.run_sync(lambda plain: self.insert_ids(plain, table, rows))

    def insert(self, session: AnySession, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> int:
        """As `insert_missing`, inside `transact`."""
        statement = self.insert_into(table).on_conflict_do_nothing()
        session.flush()
        if len(rows) == 1:  # a statement of many values is compiled each time
            return session.connection().execute(statement, rows[0]).rowcount
        return session.connection().execute(statement.values(list(rows))).rowcount

    def insert_ids(self, session: AnySession, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> set[str]:
        """As `insert_new`, inside `transact`."""
        statement = self.insert_into(table).on_conflict_do_nothing().returning(column("id", String))
        return set(session.connection().execute(statement, list(rows)).scalars().all())

    def insert_each(self, session: AnySession, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> None:
        """As `insert`, without a word on how many there were, with which databases are quicker."""
        if rows:
            session.connection().execute(self.insert_into(table).on_conflict_do_nothing(), list(rows))

    def insert_into(self, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
        """The database's own INSERT, which knows what to do about rows that are there."""
        return sqlite.insert(table) if self.engine.dialect.name == "sqlite" else postgresql.insert(table)


@contextmanager
def _unavailable() -> Generator[None]:
    """Say what a failing database means, in the words of the error tree."""
    hint = "check store.url, and that the database server runs"
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise ServiceUnavailable(f"the store does not answer: {error.orig}", hint=hint) from error
    except DBAPIError as error:
        if "not a database" in str(error.orig):
            raise DataDirBroken(
                f"the store's file is damaged: {error.orig}", hint="restore it, or move it away: a new one is made"
            ) from error
        if error.connection_invalidated:
            raise ServiceUnavailable(f"the store went away: {error.orig}", hint=hint) from error
        raise
    except ConnectionError as error:  # asyncpg lets the socket's own error through while connecting
        raise ServiceUnavailable(f"the store does not answer: {error}", hint=hint) from error
