"""What a start by name must know before it asks Temporal, in one query: every message waits for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col, literal, select

from meta.store.database import Database
from meta.store.runs import RequestedRun
from meta.store.tables import DefinitionRow, RunRow


@dataclass(frozen=True, slots=True)
class Outlook:
    """How things stand before a start.

    Attributes:
        known: the run that the request started before.
        newest: bundle digest of the newest version of the name; empty when nothing is published under it.
    """

    known: RequestedRun | None
    newest: str


class Starts:
    """Looks things up for starts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, workflow: str, request_id: str) -> Outlook:
        """How things stand for a request of a workflow.

        Args:
            workflow: a name, which need not be published.
            request_id: identity of the request; empty has no run.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        newest = (
            select(DefinitionRow.bundle_digest)
            .where(DefinitionRow.name == workflow, col(DefinitionRow.removed_at).is_(None))
            .order_by(col(DefinitionRow.version).desc())
            .limit(1)
            .scalar_subquery()
        )
        one = select(literal(1).label("one")).subquery()  # a row whether there is a run or not
        its_run = (
            (col(RunRow.workflow) == workflow) & (col(RunRow.request_id) == request_id) & (literal(request_id) != "")
        )
        query = (
            select(newest, RunRow.id, RunRow.inputs_digest, RunRow.bundle_digest)
            .select_from(one)
            .outerjoin(RunRow, its_run)
        )
        [(digest, run_id, inputs_digest, bundle_digest), *_] = await self._database.ask(query)
        # a row without the digest of its inputs was written by a worker; Temporal knows them
        known = RequestedRun(run_id, inputs_digest, bundle_digest) if inputs_digest else None
        return Outlook(known, digest or "")
