"""Meta-runs and their steps: what the API reads, and the one way to change them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from sqlmodel import Session, and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store import metrics
from meta.store.counting import Transitions, failure_of, transitions
from meta.store.database import Database
from meta.store.event_tables import OutboxRow
from meta.store.exports import Exports
from meta.store.fold import fold_gone, fold_run
from meta.store.outbox import Outbox, rows_of
from meta.store.paging import read_token, token_of
from meta.store.tables import (
    ArtifactEdgeRow,
    DefinitionRow,
    EngineRunRow,
    ExportRow,
    OtherRunRow,
    RunRow,
    StepRow,
)
from workers.ports import AskedRun
from workflows.errors import NotFound
from workflows.messages import OtherRun, RunSnapshot, StepSnapshot
from workflows.outcome import EngineRunRef, RunState, StepState
from workflows.spec.models import MetaWorkflow

_ARTIFACT = re.compile(r"steps\.([a-z][a-z0-9_]*)\.artifacts\.([a-z][a-z0-9_]*)")
_COUNTED = "counted"  # beside a snapshot's own keys: names of the steps whose end was counted
_CHUNK = 500  # of a list of ids in one query; both databases limit the number of parameters


@dataclass(frozen=True, slots=True)
class RequestedRun:
    """What a start request came to earlier."""

    run_id: str
    inputs_digest: str
    bundle_digest: str


@dataclass(frozen=True, slots=True)
class RunPage:
    runs: list[RunSnapshot]
    next_token: str


class Runs:
    """Meta-runs by id."""

    def __init__(self, database: Database, outbox: Outbox | None = None, exports: Exports | None = None) -> None:
        self._database = database
        self._outbox = outbox
        self._exports = exports or Exports(database)

    async def create(self, snapshot: RunSnapshot, inputs_digest: str, definition: MetaWorkflow) -> None:
        """Write a run that Temporal has accepted. A repeat, or a worker that was quicker, is fine."""
        edge_rows = edges(snapshot.id, definition)
        if await self._create_new(snapshot, inputs_digest, edge_rows):
            return

        def fill(row: RunRow) -> None:
            row.inputs_digest = row.inputs_digest or inputs_digest

        async with self._database.write() as session:
            await self.change(session, snapshot, lambda known: fold_run(known, snapshot), fill, final=_ended(snapshot))
            await self._database.insert_missing(session, ArtifactEdgeRow, edge_rows)

    async def _create_new(self, snapshot: RunSnapshot, inputs_digest: str, edge_rows: list[dict[str, str]]) -> bool:
        """Write a run that nobody has told of. With nothing to fold it into, it is the same as `change` at less cost.

        Returns:
            False when somebody was quicker; then nothing is written.
        """
        happened = transitions(None, snapshot, _ended(snapshot), ())
        run = _run_values(snapshot, [step.name for step in happened.steps]) | {"inputs_digest": inputs_digest}
        steps = [_step_values(snapshot.id, step, position) for position, step in enumerate(snapshot.steps)]
        news: list[dict[str, Any]] = []
        if self._outbox is not None:
            news = rows_of(None, snapshot, _ended(snapshot), said=(), sampling=self._outbox.sampling)
        due = self._exports.rows(snapshot.id, 1, _ended(snapshot))

        def write(session: Session) -> bool:
            if not self._database.insert(session, RunRow, [run]):
                return False
            self._database.insert_each(session, StepRow, steps)
            self._database.insert_each(session, OutboxRow, news)
            self._database.insert_each(session, ExportRow, due)
            self._database.insert_each(session, ArtifactEdgeRow, edge_rows)
            return True

        created = await self._database.transact(write)
        if created:
            metrics.run_changed(snapshot, happened, {step.name: failure_of(step, {}) for step in happened.steps})
        if created and self._outbox is not None:
            self._outbox.added.set()
        if created:
            self._exports.tell()
        return created

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """Take what a workflow says about its run."""
        async with self._database.write() as session:
            await self.change(session, snapshot, lambda known: fold_run(known, snapshot), final=_ended(snapshot))

    async def gone(self, run_id: str, state: RunState, message: str, at: datetime) -> None:
        """Temporal ended the run without a last word from its workflow."""
        async with self._database.write() as session:
            if await session.get(RunRow, run_id) is not None:
                blank = RunSnapshot(id=run_id, workflow="", bundle_digest="")
                await self.change(session, blank, lambda known: fold_gone(known, state, message, at), final=())

    async def change(
        self,
        session: AsyncSession,
        blank: RunSnapshot,
        fold: Callable[[RunSnapshot], RunSnapshot],
        fill: Callable[[RunRow], None] | None = None,
        final: Collection[str] | None = None,
    ) -> None:
        """Fold news into a run and its steps inside a write transaction; the revision rises if they changed.

        Args:
            session: of `Database.write`.
            blank: the run to write down first when it is not there yet; its steps are left out.
            fold: from what is known to what is known now.
            fill: sets columns that are no part of a snapshot.
            final: steps that the workflow calls ended, when it is the workflow that tells; see `happenings`.
        """
        start = blank.model_copy(update={"steps": [], "state": RunState.RUNNING})
        inserted = await self._database.insert_missing(session, RunRow, [_run_values(start)])
        row = await session.get(RunRow, blank.id, with_for_update=True)
        assert row is not None  # inserted above, and rows are never deleted
        metrics.known(row.workflow)
        steps = {
            step.name: step for step in (await session.exec(select(StepRow).where(StepRow.run_id == row.id))).all()
        }
        known = _snapshot(row, steps.values())
        news = fold(known)
        if fill is not None:
            fill(row)
        if self._outbox is not None:
            await self._outbox.add(session, None if inserted else known, news, final)
        counted = cast("list[str]", row.snapshot.get(_COUNTED, []))
        happened = transitions(None if inserted else known, news, final, counted)
        if happened.any:
            counted = [*counted, *(step.name for step in happened.steps)]
            row.snapshot = {**row.snapshot, _COUNTED: [*counted]}
            count = partial(metrics.run_changed, news, happened, await self._failures(session, news.id, happened))
            metrics.after_commit(session, count)
        if news == known:
            if final:
                await self._exports.mark(session, row.id, row.revision, late=True, over=final)
            return
        for name, value in _run_values(news, counted).items():
            if name not in ("id", "revision", "created_at", "inputs_digest"):
                setattr(row, name, value)
        row.revision += 1
        for position, step in enumerate(news.steps):
            values = _step_values(row.id, step, position)
            if (existing := steps.get(step.name)) is None:
                session.add(StepRow(**values))
            else:
                for name, value in values.items():
                    setattr(existing, name, value)
        await self._exports.mark(session, row.id, row.revision, late=known.state.ended, over=final or ())

    async def _failures(self, session: AsyncSession, run_id: str, happened: Transitions) -> dict[str, str]:
        """Class of failure by step; that of a failed one stands with its attempt."""
        failed = [step.name for step in happened.steps if step.state is StepState.FAILED]
        known: dict[tuple[str, int], str] = {}
        if failed:
            query = select(EngineRunRow).where(
                EngineRunRow.run_id == run_id, col(EngineRunRow.step).in_(failed), EngineRunRow.index == 0
            )
            known = {(row.step, row.attempt): row.failure or "" for row in (await session.exec(query)).all()}
        return {step.name: failure_of(step, known) for step in happened.steps}

    async def retried(self, run_id: str, new_id: str) -> None:
        """Another run retries this one; told once."""

        def into(run: RunSnapshot) -> RunSnapshot:
            if not run.workflow or new_id in run.retried_as:
                return run
            return run.model_copy(update={"retried_as": [*run.retried_as, new_id]})

        async with self._database.write() as session:
            await self.change(session, RunSnapshot(id=run_id, workflow="", bundle_digest=""), into)

    async def touch(self, session: AsyncSession, run_id: str) -> None:
        """Let the revision rise for news that are no part of a stored snapshot."""
        row = await session.get(RunRow, run_id, with_for_update=True)
        if row is not None:
            row.revision += 1
            late = row.state != RunState.RUNNING.value
            await self._exports.mark(session, run_id, row.revision, late=late)

    async def get(self, run_id: str) -> RunSnapshot:
        """One run with its steps.

        Raises:
            NotFound: the store has no such run.
        """
        found = await self.get_many([run_id])
        if not found:
            raise NotFound(f"no run {run_id!r}", hint="`meta list` shows the runs there are")
        return found[run_id][1]

    async def get_many(self, run_ids: Collection[str]) -> dict[str, tuple[int, RunSnapshot]]:
        """Runs with their steps, and each one's revision; ids that are not there are left out."""
        found: dict[str, tuple[int, RunSnapshot]] = {}
        async with self._database.read() as session:
            for ids in _chunks(run_ids):
                rows = (await session.exec(select(RunRow).where(col(RunRow.id).in_(ids)))).all()
                steps: dict[str, list[StepRow]] = {}
                for step in (await session.exec(select(StepRow).where(col(StepRow.run_id).in_(ids)))).all():
                    steps.setdefault(step.run_id, []).append(step)
                others = (await session.exec(select(OtherRunRow).where(col(OtherRunRow.run_id).in_(ids)))).all()
                found |= {
                    row.id: (row.revision, with_others(_snapshot(row, steps.get(row.id, [])), others)) for row in rows
                }
        return found

    async def revisions(self, run_ids: Collection[str]) -> dict[str, int]:
        """The revision of each run, which rises with every change; cheap enough to ask several times a second."""
        found: dict[str, int] = {}
        async with self._database.read() as session:
            for ids in _chunks(run_ids):
                rows = await session.exec(select(RunRow.id, RunRow.revision).where(col(RunRow.id).in_(ids)))
                found |= dict(rows.all())
        return found

    async def requested(self, workflow: str, request_id: str) -> RequestedRun | None:
        """The run that a request id of a workflow started, if the store knows it."""
        query = select(RunRow).where(RunRow.workflow == workflow, RunRow.request_id == request_id)
        async with self._database.read() as session:
            row = (await session.exec(query)).first()
        return RequestedRun(row.id, row.inputs_digest, row.bundle_digest) if row and row.inputs_digest else None

    async def requested_or_newest(self, workflow: str, request_id: str) -> tuple[RequestedRun | None, str]:
        """The run that a request id of a published workflow started, and the bundle that a new one would be of.

        Both in one look, because every message asks. The bundle is empty when nothing is published under the name.
        """
        run = and_(col(RunRow.workflow) == col(DefinitionRow.name), col(RunRow.request_id) == request_id)
        query = (
            select(DefinitionRow.bundle_digest, RunRow.id, RunRow.inputs_digest, RunRow.bundle_digest)
            .join(RunRow, run, isouter=True)
            .where(DefinitionRow.name == workflow, col(DefinitionRow.removed_at).is_(None))
            .order_by(col(DefinitionRow.version).desc())
            .limit(1)
        )
        rows = await self._database.ask(query)
        if not rows:
            return await self.requested(workflow, request_id), ""
        [(newest, run_id, inputs, bundle)] = rows
        return RequestedRun(run_id, inputs, bundle) if run_id and inputs else None, newest

    async def asked(self, workflow: str, prefix: str) -> Sequence[AskedRun]:
        """Runs of a workflow whose request ids begin with a text."""
        query = select(RunRow.id, RunRow.request_id, RunRow.state).where(
            RunRow.workflow == workflow, col(RunRow.request_id).startswith(prefix, autoescape=True)
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [AskedRun(run_id, request_id or "", RunState(state)) for run_id, request_id, state in rows]

    async def list(
        self, *, workflow: str = "", state: RunState | None = None, size: int = 50, token: str = ""
    ) -> RunPage:
        """Runs without steps, newest first.

        Raises:
            InvalidInput: the token is not one that an earlier page gave.
        """
        query = select(RunRow).order_by(col(RunRow.created_at).desc(), col(RunRow.id).desc()).limit(size + 1)
        if workflow:
            query = query.where(RunRow.workflow == workflow)
        if state is not None:
            query = query.where(RunRow.state == state.value)
        if token:
            at, run_id = read_token(token)
            older = and_(col(RunRow.created_at) == at, col(RunRow.id) < run_id)
            query = query.where(or_(col(RunRow.created_at) < at, older))
        async with self._database.read() as session:
            rows = list((await session.exec(query)).all())
        more = len(rows) > size
        rows = rows[:size]
        return RunPage([_snapshot(row, []) for row in rows], token_of(rows[-1].created_at, rows[-1].id) if more else "")

    async def running(self) -> dict[str, int]:
        """How many runs have not ended, as far as the store knows, by meta-workflow."""
        query = select(RunRow.workflow, func.count()).where(RunRow.state == RunState.RUNNING.value)
        async with self._database.read() as session:
            return dict((await session.exec(query.group_by(col(RunRow.workflow)))).all())

    async def undescribed(self, limit: int = 100) -> list[str]:
        """Ids of runs that only their attempts have told of, oldest first."""
        query = select(RunRow.id).where(RunRow.state == RunState.RUNNING.value, RunRow.bundle_digest == "")
        async with self._database.read() as session:
            return list((await session.exec(query.order_by(col(RunRow.created_at)).limit(limit))).all())

    async def unended(self, limit: int = 1000) -> list[str]:
        """Ids of runs that have not ended as far as the store knows, oldest first."""
        query = select(RunRow.id).where(RunRow.state == RunState.RUNNING.value).order_by(col(RunRow.created_at))
        async with self._database.read() as session:
            return list((await session.exec(query.limit(limit))).all())


def with_others(run: RunSnapshot, rows: Collection[OtherRunRow]) -> RunSnapshot:
    """Put what was ended beside adopted engine runs into the steps of a run.

    Args:
        run: with its steps.
        rows: of any runs.
    """
    found: dict[str, list[OtherRun]] = {}
    for row in sorted(rows, key=lambda row: (row.ended_at, row.uid)):
        if row.run_id == run.id:
            ref = EngineRunRef.model_validate(row.ref)
            other = OtherRun(ref=ref, attempt=row.attempt, stays=row.stays, at=row.ended_at)
            found.setdefault(row.step, []).append(other)
    if not found:
        return run
    steps = [step.model_copy(update={"other_runs": found.get(step.name, [])}) for step in run.steps]
    return run.model_copy(update={"steps": steps})


def edges(run_id: str, definition: MetaWorkflow) -> list[dict[str, str]]:
    """Which step reads which artifact of which, as the definition says."""
    return [
        {"run_id": run_id, "consumer": name, "input": key, "producer": found[1], "artifact": found[2]}
        for name, step in definition.everything().items()
        for key, value in step.artifacts.items()
        if (found := _ARTIFACT.search(value))
    ]


def _ended(run: RunSnapshot) -> list[str]:
    return [step.name for step in run.steps if step.state.ended]


def _run_values(run: RunSnapshot, counted: Iterable[str] = ()) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "request_id": run.request_id or None,
        "bundle_digest": run.bundle_digest,
        "inputs_digest": "",
        "state": run.state.value,
        "revision": 1,
        "snapshot": run.model_dump(mode="json", exclude={"steps"}) | {_COUNTED: list(counted)},
        "created_at": run.started_at or datetime.now(UTC),
        "finished_at": run.finished_at,
    }


def _step_values(run_id: str, step: StepSnapshot, position: int) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "name": step.name,
        "position": position,
        "engine": step.engine,
        "state": step.state.value,
        "attempt": step.attempt,
        "snapshot": step.model_dump(mode="json"),
    }


def _snapshot(row: RunRow, steps: Collection[StepRow]) -> RunSnapshot:
    ordered = sorted(steps, key=lambda step: step.position)
    run = RunSnapshot.model_validate(row.snapshot)
    return run.model_copy(update={"steps": [StepSnapshot.model_validate(step.snapshot) for step in ordered]})


def _chunks(ids: Collection[str]) -> list[Sequence[str]]:
    listed = list(ids)
    return [listed[at : at + _CHUNK] for at in range(0, len(listed), _CHUNK)]
