"""What resource templates are doing, so that a server that is killed does not create an object twice."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import cast

_SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
  uid TEXT NOT NULL, node_id TEXT NOT NULL, made TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  PRIMARY KEY (uid, node_id));
"""


@dataclass(frozen=True, slots=True)
class Action:
    """A resource template's action, begun or done.

    Attributes:
        made: uid that a created object gets.
        kind: of the object that it has acted on; empty before it is done.
        name: of that object; empty where it was of none (a get of what may be absent).
    """

    made: str
    kind: str = ""
    name: str = ""

    @property
    def done(self) -> bool:
        """Whether waiting is all that is left."""
        return bool(self.kind)


class Actions:
    """The actions of pods that have not ended."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(_SCHEMA)

    def get(self, uid: str, node_id: str) -> Action | None:
        row = self._db.execute(
            "SELECT made, kind, name FROM actions WHERE uid = ? AND node_id = ?", (uid, node_id)
        ).fetchone()  # fmt: skip
        return None if row is None else Action(*cast("tuple[str, str, str]", row))

    def put(self, uid: str, node_id: str, action: Action) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO actions VALUES (?, ?, ?, ?, ?)",
            (uid, node_id, action.made, action.kind, action.name),
        )

    def forget(self, uid: str, node_id: str) -> None:
        self._db.execute("DELETE FROM actions WHERE uid = ? AND node_id = ?", (uid, node_id))

    def nodes(self) -> list[tuple[str, str]]:
        """Uids of workflows, and ids of their nodes, that have one."""
        return cast("list[tuple[str, str]]", self._db.execute("SELECT uid, node_id FROM actions").fetchall())
