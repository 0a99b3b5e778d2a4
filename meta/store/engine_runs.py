"""Engine runs that were adopted, as the sweep looks at them: which are open, which run again, how they came out.

A row without `ended_at` is open. One that has an outcome all the same has ended before and was retried by hand since.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import aliased
from sqlmodel import and_, col, delete, exists, or_, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.recorder import node_rows
from meta.store.runs import Runs
from meta.store.tables import EngineRunRow, NodeRow, RunRow, StepRow
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, Outcome, RunState, StepState

_CHUNK = 500  # of a list of ids in one query; both databases limit the number of parameters
_OPEN_STEPS = (StepState.PENDING.value, StepState.RUNNING.value)


@dataclass(frozen=True, slots=True)
class AdoptedRun:
    """One attempt's engine run.

    Attributes:
        ended_at: None while it runs, as far as the store knows.
        reopened: it had ended, and runs again.
    """

    key: RunKey
    ref: EngineRunRef
    ended_at: datetime | None
    reopened: bool


@dataclass(frozen=True, slots=True)
class AwaitedRun:
    """An engine run that a running step of a live meta-run waits for; `index` of the item, 0 without a fan-out."""

    run_id: str
    step: str
    ref: EngineRunRef
    index: int = 0


class EngineRuns:
    """The adopted engine runs."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def by_uid(self, engine: str, uids: Collection[str]) -> dict[str, AdoptedRun]:
        """Runs of an engine by the engine's own ids; of one that was resumed, its last attempt."""
        found: dict[str, AdoptedRun] = {}
        listed = list(uids)
        async with self._database.read() as session:
            for at in range(0, len(listed), _CHUNK):
                query = (
                    select(EngineRunRow)
                    .where(EngineRunRow.engine == engine, col(EngineRunRow.uid).in_(listed[at : at + _CHUNK]))
                    .order_by(col(EngineRunRow.attempt))
                )
                found |= {row.uid: _adopted(row) for row in (await session.exec(query)).all()}
        return found

    async def unsettled(self, after: RunKey | None, limit: int) -> list[AdoptedRun]:
        """Open runs whose step, attempt or meta-run is over: nobody waits for them, so nobody tells how they end.

        Args:
            after: go on behind this one; None begins anew.
            limit: at most so many.
        """
        place = [col(EngineRunRow.run_id), col(EngineRunRow.step), col(EngineRunRow.index), col(EngineRunRow.attempt)]
        query = (
            select(EngineRunRow)
            .join(RunRow, col(RunRow.id) == col(EngineRunRow.run_id))
            .join(StepRow, and_(StepRow.run_id == EngineRunRow.run_id, StepRow.name == EngineRunRow.step))
            .where(
                col(EngineRunRow.ended_at).is_(None),
                or_(
                    RunRow.state != RunState.RUNNING.value,
                    col(StepRow.state).not_in(_OPEN_STEPS),
                    col(StepRow.attempt) > col(EngineRunRow.attempt),
                ),
            )
            .order_by(*place)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(*place) > tuple_(*_place(after)))
        async with self._database.read() as session:
            return [_adopted(row) for row in (await session.exec(query)).all()]

    async def awaited(self, engine: str, after: tuple[str, str, int] | None, limit: int) -> list[AwaitedRun]:
        """Open runs of an engine that running steps of live meta-runs wait for.

        Args:
            engine: its name.
            after: go on behind this meta-run, step and item; None begins anew.
            limit: at most so many.
        """
        place = [col(EngineRunRow.run_id), col(EngineRunRow.step), col(EngineRunRow.index)]
        later = aliased(EngineRunRow)
        superseded = exists().where(
            col(later.run_id) == col(EngineRunRow.run_id),
            col(later.step) == col(EngineRunRow.step),
            col(later.index) == col(EngineRunRow.index),
            col(later.attempt) > col(EngineRunRow.attempt),
        )
        query = (
            select(EngineRunRow)
            .join(RunRow, col(RunRow.id) == col(EngineRunRow.run_id))
            .join(StepRow, and_(StepRow.run_id == EngineRunRow.run_id, StepRow.name == EngineRunRow.step))
            .where(
                EngineRunRow.engine == engine,
                col(EngineRunRow.ended_at).is_(None),
                RunRow.state == RunState.RUNNING.value,
                StepRow.state == StepState.RUNNING.value,
                or_(
                    and_(EngineRunRow.index == 0, StepRow.attempt == EngineRunRow.attempt),
                    and_(col(EngineRunRow.index) > 0, ~superseded),  # a step's attempt says nothing of its items
                ),
            )
            .order_by(*place)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(*place) > tuple_(*after))
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [AwaitedRun(row.run_id, row.step, EngineRunRef.model_validate(row.ref), row.index) for row in rows]

    async def reopen(self, key: RunKey, note: str) -> bool:
        """An engine run that had ended runs again.

        Returns:
            False when that is known, or the run is not.
        """
        async with self._database.write() as session:
            row = await session.get(EngineRunRow, _place(key), with_for_update=True)
            if row is None or row.ended_at is None:
                return False
            row.ended_at = None
            row.succeeded = bool(row.succeeded)  # an outcome without an end is what says so
            await self._note(session, key, note)
            return True

    async def settle(self, key: RunKey, outcome: Outcome, at: datetime, note: str) -> bool:
        """Write down how an open run ended; its step's state stays what its workflow made of it.

        Returns:
            False when somebody else has done so meanwhile.
        """
        async with self._database.write() as session:
            row = await session.get(EngineRunRow, _place(key), with_for_update=True)
            if row is None or row.ended_at is not None:
                return False
            row.ended_at = outcome.finished_at or at
            row.engine_started_at = row.engine_started_at or outcome.started_at
            row.own_trace = outcome.own_trace or row.own_trace
            row.succeeded = outcome.succeeded
            row.failure = outcome.failure.value if outcome.failure else None
            row.message = outcome.message
            row.outputs = outcome.outputs
            if outcome.nodes:
                await session.exec(
                    delete(NodeRow).where(
                        col(NodeRow.run_id) == key.meta_run,
                        col(NodeRow.step) == key.step,
                        col(NodeRow.index) == key.index,
                        col(NodeRow.attempt) == key.attempt,
                    )
                )
                for rows in node_rows(key, outcome):
                    await self._database.insert_missing(session, NodeRow, rows)
            await self._note(session, key, note)
            return True

    async def noted(self, key: RunKey, note: str) -> None:
        """See `workers.ports.Recorder.noted`."""
        async with self._database.write() as session:
            await self._note(session, key, note)

    async def _note(self, session: AsyncSession, key: RunKey, note: str) -> None:
        if not note or await session.get(RunRow, key.meta_run) is None:
            return
        words = f"item {key.index - 1}: {note}" if key.index else note

        def into(run: RunSnapshot) -> RunSnapshot:
            steps = [
                step.model_copy(update={"note": words})
                if step.name == key.step and (key.index or step.attempt >= key.attempt)
                else step
                for step in run.steps
            ]
            return run.model_copy(update={"steps": steps})

        await self._runs.change(session, RunSnapshot(id=key.meta_run, workflow="", bundle_digest=""), into)


def _place(key: RunKey) -> tuple[str, str, int, int]:
    return key.meta_run, key.step, key.index, key.attempt


def _adopted(row: EngineRunRow) -> AdoptedRun:
    return AdoptedRun(
        key=RunKey(meta_run=row.run_id, step=row.step, index=row.index, attempt=row.attempt),
        ref=EngineRunRef.model_validate(row.ref),
        ended_at=row.ended_at,
        reopened=row.ended_at is None and row.succeeded is not None,
    )
