"""Writes lineage as activities report it; implements `workers.ports.Recorder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import and_, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store import metrics
from meta.store.database import Database
from meta.store.fold import fold_ended, fold_submitted
from meta.store.runs import Runs
from meta.store.step_cache import keep
from meta.store.tables import ArtifactRow, EngineRunRow, NodeRow, OtherRunRow, RunRow, WorkRow
from workers.ports import KEPT_TRIES, CachedSuccess, Work
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome

_CHUNK = 500  # rows of one insert; both databases limit the number of parameters


class LineageRecorder:
    """Every call is idempotent and may come late: see `meta.store.fold`."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def attempt_submitted(
        self,
        workflow: str,
        key: RunKey,
        ref: EngineRunRef,
        at: datetime,
        *,
        asked_at: datetime | None = None,
        tries: int = 1,
    ) -> None:
        """An engine run was adopted for this attempt; the step is running."""
        async with self._database.write() as session:
            await self._fold(
                session, workflow, key, at, lambda step: fold_submitted(step, key.step, ref, key.attempt, at)
            )
            row = await self._engine_run(session, key, ref)
            if row.submitted_at is None:
                row.submitted_at, row.asked_at, row.tries = at, asked_at, tries
                metrics.after_commit(session, partial(metrics.submitted, ref.engine, asked_at, at))

    async def worked(self, work: Work) -> None:
        """A try of an activity; the first telling counts, and of late tries the last one takes the others' place."""
        row = {
            **_identity(work.key), "what": work.what, "number": work.number, "worker": work.worker,
            "started_at": work.started_at, "ended_at": work.ended_at, "code": work.code, "message": work.message,
        }  # fmt: skip
        async with self._database.write() as session:
            if work.number > KEPT_TRIES:
                late = and_(
                    col(WorkRow.run_id) == work.key.meta_run,
                    col(WorkRow.step) == work.key.step,
                    col(WorkRow.index) == work.key.index,
                    col(WorkRow.attempt) == work.key.attempt,
                    col(WorkRow.what) == work.what,
                    col(WorkRow.number) > KEPT_TRIES,
                )
                if (await session.exec(select(WorkRow.number).where(late, col(WorkRow.number) > work.number))).first():
                    return
                await session.exec(delete(WorkRow).where(late, col(WorkRow.number) < work.number))
            await self._database.insert_missing(session, WorkRow, [row])

    async def attempt_ended(
        self,
        workflow: str,
        key: RunKey,
        ref: EngineRunRef,
        outcome: Outcome,
        at: datetime,
        *,
        success: CachedSuccess | None = None,
    ) -> None:
        """The engine run ended: its outcome, nodes and artifacts."""
        async with self._database.write() as session:
            await self._fold(
                session,
                workflow,
                key,
                at,
                lambda step: fold_ended(step, key.step, ref, key.attempt, outcome=outcome, at=at),
            )
            row = await self._engine_run(session, key, ref)
            if row.ended_at is not None:
                return  # told before; the first telling had the results at hand
            metrics.after_commit(session, partial(metrics.engine_run_read, ref.engine, outcome, at))
            if row.failure is None:  # else its being cut was counted
                metrics.after_commit(session, partial(metrics.attempt_ended, workflow, ref.engine, outcome.failure))
            row.ended_at = outcome.finished_at or at
            row.engine_started_at, row.seen_at, row.own_trace = outcome.started_at, at, outcome.own_trace
            row.succeeded = outcome.succeeded
            if outcome.succeeded or row.failure is None:  # else it was cut: the workflow's word stands
                row.failure = outcome.failure.value if outcome.failure else None
                row.message = outcome.message
            row.outputs = outcome.outputs
            identity = _identity(key)
            for rows in node_rows(key, outcome):
                await self._database.insert_missing(session, NodeRow, rows)
            artifacts: list[dict[str, Any]] = [
                {
                    **identity,
                    "name": name,
                    **artifact.model_dump(include={"uri", "sha256", "size", "type"}),
                    "details": artifact.metadata,
                }
                for name, artifact in outcome.artifacts.items()
            ]
            await self._database.insert_missing(session, ArtifactRow, artifacts)
            if success is not None:
                await keep(self._database, session, success)

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        """An engine run beside the adopted one of its key was told to end; the first telling counts."""
        row = {
            **_identity(key),
            "uid": ended.uid,
            "ref": ended.model_dump(mode="json"),
            "stays": stays.uid,
            "ended_at": at,
        }
        async with self._database.write() as session:
            blank = RunSnapshot(id=key.meta_run, workflow="", bundle_digest="", started_at=at)
            await self._runs.change(session, blank, lambda run: run)
            if await self._database.insert_missing(session, OtherRunRow, [row]):
                await self._runs.touch(session, key.meta_run)

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        """The workflow ended this attempt: its word wins over the engine's, whichever comes first."""
        async with self._database.write() as session:
            row = await session.get(EngineRunRow, (key.meta_run, key.step, key.index, key.attempt))
            if row is not None and not row.succeeded:
                if row.failure is None and row.ended_at is None:  # else its end was counted
                    run = await session.get(RunRow, key.meta_run)
                    workflow = run.workflow if run is not None else ""
                    metrics.after_commit(session, partial(metrics.attempt_ended, workflow, row.engine, failure))
                row.failure, row.message = failure.value, message
                session.add(row)

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """The whole state of a meta-run, as its workflow sees it; it wins over what attempts wrote."""
        await self._runs.snapshot(snapshot)

    async def _fold(
        self,
        session: AsyncSession,
        workflow: str,
        key: RunKey,
        at: datetime,
        fold: Callable[[StepSnapshot | None], StepSnapshot],
    ) -> None:
        """Fold news about one step into its run, which may not be written down yet.

        An item of a fan-out is no news of its step: the workflow tells how far that is. Thousands of items must not
        change the run's row one after another.
        """

        def into(run: RunSnapshot) -> RunSnapshot:
            if run.state.ended:
                return run
            known = next((step for step in run.steps if step.name == key.step), None)
            news = fold(known)
            steps = [news if step is known else step for step in run.steps] + ([] if known else [news])
            return run.model_copy(update={"steps": steps})

        blank = RunSnapshot(id=key.meta_run, workflow=workflow, bundle_digest="", started_at=at)
        if not key.index:
            await self._runs.change(session, blank, into)
        elif await session.get(RunRow, key.meta_run) is None:
            await self._runs.change(session, blank, lambda run: run)

    async def _engine_run(self, session: AsyncSession, key: RunKey, ref: EngineRunRef) -> EngineRunRow:
        values = {
            **_identity(key),
            "engine": ref.engine,
            "kind": ref.kind.value,
            "name": ref.name,
            "uid": ref.uid,
            "ref": ref.model_dump(mode="json"),
            "message": "",
            "outputs": {},
            "tries": 1,
            "own_trace": "",
        }
        await self._database.insert_missing(session, EngineRunRow, [values])
        row = await session.get(EngineRunRow, (key.meta_run, key.step, key.index, key.attempt))
        assert row is not None  # inserted above
        return row


def node_rows(key: RunKey, outcome: Outcome) -> Iterator[list[dict[str, Any]]]:
    """The nodes of an engine run as rows, in lots that one insert takes."""
    for at in range(0, len(outcome.nodes), _CHUNK):
        yield [
            {
                **_identity(key),
                **node.model_dump(include={"id", "name", "type", "phase", "cached", "started_at", "finished_at"}),
                "node": node.model_dump(mode="json"),
            }
            for node in outcome.nodes[at : at + _CHUNK]
        ]


def _identity(key: RunKey) -> dict[str, Any]:
    return {"run_id": key.meta_run, "step": key.step, "index": key.index, "attempt": key.attempt}
