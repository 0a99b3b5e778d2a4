"""Reads what the traces of runs are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlmodel import col, select

from meta.store.database import Database
from meta.store.runs import Runs
from meta.store.tables import EngineRunRow, NodeRow, RunRow, WorkRow
from meta.trace.record import AttemptRecord, RunRecord, WorkRecord
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Node

_CHUNK = 500  # of a list of ids in one query; both databases limit the number of parameters


class Traces:
    """Records of runs by id."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def record(self, run_id: str) -> RunRecord:
        """All that a run's trace is made of.

        Raises:
            NotFound: the store has no such run.
        """
        run = await self._runs.get(run_id)
        async with self._database.read() as session:
            attempts = (await session.exec(select(EngineRunRow).where(EngineRunRow.run_id == run_id))).all()
            nodes = (await session.exec(select(NodeRow).where(NodeRow.run_id == run_id))).all()
            work = select(WorkRow).where(WorkRow.run_id == run_id).order_by(col(WorkRow.started_at))
            tries = (await session.exec(work)).all()
            row = await session.get(RunRow, run_id)
            wanted = sorted({step.taken_from.run for step in run.steps if step.taken_from} | {run.retry_of} - {""})
            others: dict[str, Mapping[str, str]] = {}
            for at in range(0, len(wanted), _CHUNK):
                these = select(RunRow).where(col(RunRow.id).in_(wanted[at : at + _CHUNK]))
                for other in (await session.exec(these)).all():
                    others[other.id] = RunSnapshot.model_validate(other.snapshot).trace
        by_attempt: dict[RunKey, list[Node]] = {}
        for node in nodes:
            by_attempt.setdefault(_key(node), []).append(Node.model_validate(node.node))
        return RunRecord(
            run,
            list(_attempts(attempts, by_attempt)),
            [_work(one) for one in tries],
            row.created_at if row else None,
            others,
        )


def _attempts(rows: Iterable[EngineRunRow], nodes: dict[RunKey, list[Node]]) -> Iterable[AttemptRecord]:
    for row in sorted(rows, key=lambda row: (row.step, row.index, row.attempt)):
        yield AttemptRecord(
            key=_key(row),
            ref=EngineRunRef.model_validate(row.ref),
            asked_at=row.asked_at,
            tries=row.tries,
            submitted_at=row.submitted_at,
            engine_started_at=row.engine_started_at,
            ended_at=row.ended_at,
            seen_at=row.seen_at,
            failure=FailureClass(row.failure) if row.failure else None,
            message=row.message,
            own_trace=row.own_trace,
            nodes=nodes.get(_key(row), []),
        )


def _work(row: WorkRow) -> WorkRecord:
    return WorkRecord(
        key=_key(row), what=row.what, number=row.number, worker=row.worker, started_at=row.started_at,
        ended_at=row.ended_at, code=row.code, message=row.message,
    )  # fmt: skip


def _key(row: EngineRunRow | NodeRow | WorkRow) -> RunKey:
    return RunKey(meta_run=row.run_id, step=row.step, index=row.index, attempt=row.attempt)
