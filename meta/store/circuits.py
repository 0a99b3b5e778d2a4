"""What each worker's circuit breakers do; implements `workers.ports.CircuitRecorder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import col, delete, select

from meta.store.database import Database
from meta.store.tables import EngineCircuitRow
from workers.circuit import CircuitState, CircuitView
from workers.ports import EngineLoad

FRESH = timedelta(seconds=90)
"""A worker that has not written for so long is gone."""

_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkerCircuit:
    """One worker's circuit of one engine, as it wrote it down at `seen_at`."""

    worker: str
    engine: str
    circuit: CircuitView
    awaited_runs: int
    seen_at: datetime


class EngineCircuits:
    """Circuits by worker and engine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, worker: str, loads: Mapping[str, EngineLoad]) -> None:
        """See `CircuitRecorder.record_circuits`."""
        now = datetime.now(UTC)
        async with self._database.write() as session:
            await session.exec(
                delete(EngineCircuitRow).where(
                    (col(EngineCircuitRow.worker) == worker) | (col(EngineCircuitRow.seen_at) < now - _KEPT)
                )
            )
            for engine, load in loads.items():
                session.add(
                    EngineCircuitRow(
                        worker=worker,
                        engine=engine,
                        state=load.circuit.state.value,
                        since=load.circuit.since,
                        failures=load.circuit.failures,
                        reason=load.circuit.reason,
                        retry_at=load.circuit.retry_at,
                        awaited_runs=load.awaited_runs,
                        seen_at=now,
                    )
                )

    async def fresh(self) -> dict[str, list[WorkerCircuit]]:
        """Circuits by engine, of the workers that have written of late; the worst first."""
        query = select(EngineCircuitRow).where(col(EngineCircuitRow.seen_at) > datetime.now(UTC) - FRESH)
        found: dict[str, list[WorkerCircuit]] = {}
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        for row in sorted(rows, key=lambda row: (row.state == CircuitState.CLOSED.value, row.worker)):
            view = CircuitView(CircuitState(row.state), row.since, row.failures, row.reason, row.retry_at)
            known = WorkerCircuit(row.worker, row.engine, view, row.awaited_runs, row.seen_at)
            found.setdefault(row.engine, []).append(known)
        return found
