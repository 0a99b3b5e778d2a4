"""Alembic's entry. `meta.store.migrate` gives it an open connection; it never opens one itself."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection
from sqlmodel.sql.sqltypes import AutoString

from meta.store import event_tables, tables
from meta.store.types import UtcDateTime

assert event_tables.SQLModel.metadata is tables.SQLModel.metadata  # importing both fills it


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write column types as what they are in the database, so that old migrations stand on SQLAlchemy alone."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)
context.configure(
    connection=connection,
    target_metadata=tables.SQLModel.metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter a column in place
    render_item=_render,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
