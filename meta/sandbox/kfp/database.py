"""The server's database: one SQLite file, used from the server's event loop alone.

Statements are short and local, so they run on the loop itself; WAL makes what was committed survive kill -9.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS experiments (
    id TEXT PRIMARY KEY, display_name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, created_at INTEGER NOT NULL,
    last_run_created_at INTEGER NOT NULL, storage_state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pipelines (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, description TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS versions (
    id TEXT PRIMARY KEY, pipeline_id TEXT NOT NULL REFERENCES pipelines(id) ON DELETE CASCADE, name TEXT NOT NULL,
    display_name TEXT NOT NULL, description TEXT NOT NULL, created_at INTEGER NOT NULL, code_source_url TEXT NOT NULL,
    document TEXT NOT NULL, UNIQUE (pipeline_id, name)
);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL,
    experiment_id TEXT NOT NULL, storage_state TEXT NOT NULL, service_account TEXT NOT NULL,
    pipeline_id TEXT NOT NULL, version_id TEXT NOT NULL, document TEXT NOT NULL, parameters TEXT NOT NULL,
    pipeline_root TEXT NOT NULL, state TEXT NOT NULL, state_history TEXT NOT NULL, error TEXT NOT NULL,
    created_at INTEGER NOT NULL, scheduled_at INTEGER NOT NULL, finished_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL, pgid INTEGER NOT NULL, pgid_started TEXT NOT NULL, workflow TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_name ON runs (display_name);
CREATE INDEX IF NOT EXISTS runs_in_state ON runs (state, number);
CREATE INDEX IF NOT EXISTS runs_by_number ON runs (number);
-- a row holds its whole pipeline, so lists must not read rows that they do not show
CREATE INDEX IF NOT EXISTS runs_by_creation ON runs (created_at, id);
CREATE INDEX IF NOT EXISTS runs_by_finish ON runs (finished_at, id);
CREATE INDEX IF NOT EXISTS runs_by_experiment ON runs (experiment_id, created_at, id);
CREATE TABLE IF NOT EXISTS tasks (
    run_id TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, path TEXT NOT NULL, number INTEGER NOT NULL,
    id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL, error TEXT NOT NULL, execution_id INTEGER NOT NULL,
    kept TEXT NOT NULL, PRIMARY KEY (run_id, path)
);
CREATE TABLE IF NOT EXISTS mlmd_types (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name)
);
CREATE TABLE IF NOT EXISTS mlmd_contexts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, type_id INTEGER NOT NULL, name TEXT NOT NULL, parent INTEGER NOT NULL,
    message BLOB NOT NULL, UNIQUE (type_id, name)
);
CREATE TABLE IF NOT EXISTS mlmd_executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run_context INTEGER NOT NULL, pipeline_context INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, message BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS mlmd_executions_by_run ON mlmd_executions (run_context);
CREATE INDEX IF NOT EXISTS mlmd_executions_by_fingerprint ON mlmd_executions (fingerprint);
CREATE TABLE IF NOT EXISTS mlmd_artifacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uri TEXT NOT NULL, message BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS mlmd_artifacts_by_uri ON mlmd_artifacts (uri);
CREATE TABLE IF NOT EXISTS rest_artifacts (
    id TEXT PRIMARY KEY, artifact_id INTEGER NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL, uri TEXT NOT NULL,
    metadata TEXT NOT NULL, number_value REAL, namespace TEXT NOT NULL, created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS rest_artifacts_by_artifact ON rest_artifacts (artifact_id);
CREATE INDEX IF NOT EXISTS rest_artifacts_by_uri ON rest_artifacts (uri);
CREATE INDEX IF NOT EXISTS tasks_by_id ON tasks (id);
CREATE INDEX IF NOT EXISTS tasks_by_execution ON tasks (execution_id);
CREATE TABLE IF NOT EXISTS mlmd_attributions (
    context_id INTEGER NOT NULL, artifact_id INTEGER NOT NULL, PRIMARY KEY (context_id, artifact_id)
);
CREATE TABLE IF NOT EXISTS mlmd_events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, execution_id INTEGER NOT NULL, artifact_id INTEGER NOT NULL,
    message BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS mlmd_events_by_execution ON mlmd_events (execution_id);
CREATE INDEX IF NOT EXISTS mlmd_events_by_artifact ON mlmd_events (artifact_id);
"""


# columns that came later: a server finds the database of an older one and goes on with it
_ADDED = (
    ("experiments", "namespace", "TEXT NOT NULL DEFAULT ''"),
    ("pipelines", "tags", "TEXT NOT NULL DEFAULT '{}'"),
    ("versions", "tags", "TEXT NOT NULL DEFAULT '{}'"),
    ("tasks", "attempts", "TEXT NOT NULL DEFAULT ''"),
)


class Database:
    """A connection with its schema."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        if path is not None:
            self._open()

    def _open(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)
        for table, column, kind in _ADDED:
            if column not in {row["name"] for row in self.rows(f"PRAGMA table_info({table})")}:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    @classmethod
    def of_rows(cls, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Database:
        """A database in memory with one table, to list things that are computed."""
        database = cls(None)
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        marks = ", ".join("?" for _ in columns)
        for row in rows:
            database.execute(f"INSERT INTO {table} VALUES ({marks})", *row)
        return database

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, *arguments: object) -> list[sqlite3.Row]:
        return self._connection.execute(sql, arguments).fetchall()

    def row(self, sql: str, *arguments: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, arguments).fetchone()
        return row

    def execute(self, sql: str, *arguments: object) -> int:
        """Run a statement.

        Returns:
            The id of the row that an INSERT made, else the number of changed rows.
        """
        cursor = self._connection.execute(sql, arguments)
        return cursor.lastrowid or 0 if sql.lstrip().startswith("INSERT") else cursor.rowcount

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; not across an `await`."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
