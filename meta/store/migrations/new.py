"""Writes the next migration: `python -m meta.store.migrations.new "what changes"`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from meta.store.database import Database, parse_url
from meta.store.migrate import head, migrate, write_revision


async def main(message: str) -> None:
    """Bring an empty store to the last migration, and write down what the models have beyond it."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(parse_url(f"sqlite+aiosqlite:///{folder}/store.db"))
        if last := head():
            await migrate(database)
        path: Path = await write_revision(database, message, f"{int(last or 0) + 1:04d}")
        await database.close()
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
