"""What the items of fan-outs came to; implements `workers.ports.Items`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from meta.store.database import Database
from meta.store.tables import EngineRunRow, ItemRow
from workflows.fanout_messages import ItemLists, ItemRecord
from workflows.item_lists import lists_of
from workflows.outcome import EngineRunRef, StepState

_TOLD = ("state", "attempt", "message", "item", "outputs", "artifacts")


class ItemStore:
    """Items by run, step and place."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, run: str, step: str, items: Sequence[ItemRecord]) -> None:
        """See `workers.ports.Items.record_items`."""
        rows = [{"run_id": run, "step": step, **one.model_dump(mode="json")} for one in items]
        insert = self._database.insert_into(ItemRow)
        statement = insert.on_conflict_do_update(
            index_elements=["run_id", "step", "position"], set_={name: insert.excluded[name] for name in _TOLD}
        )

        def write(session: Session) -> None:
            session.connection().execute(statement, rows)

        if rows:
            await self._database.transact(write)

    async def lists(self, run: str, step: str, total: int) -> ItemLists:
        """See `workers.ports.Items.item_lists`."""
        query = select(ItemRow).where(
            ItemRow.run_id == run, ItemRow.step == step, ItemRow.state == StepState.SUCCEEDED.value
        )
        async with self._database.read() as session:
            rows = (await session.exec(query.order_by(col(ItemRow.position)))).all()
        return lists_of({row.position: _record(row) for row in rows}, 0, total)

    async def page(
        self, run: str, step: str, *, state: StepState | None = None, after: int = 0, limit: int = 100
    ) -> list[ItemRecord]:
        """Items that have ended, in order.

        Args:
            run: its id.
            step: its name.
            state: only those.
            after: go on behind this position.
            limit: at most so many.
        """
        query = select(ItemRow).where(ItemRow.run_id == run, ItemRow.step == step, col(ItemRow.position) > after)
        if state is not None:
            query = query.where(ItemRow.state == state.value)
        async with self._database.read() as session:
            rows = (await session.exec(query.order_by(col(ItemRow.position)).limit(limit))).all()
        return [_record(row) for row in rows]

    async def engine_runs(self, run: str, step: str, positions: Sequence[int] = ()) -> dict[int, EngineRunRef]:
        """The engine run of each item's last attempt, by position.

        Args:
            run: its id.
            step: its name.
            positions: only of these items; none: of all.
        """
        query = select(EngineRunRow).where(
            EngineRunRow.run_id == run, EngineRunRow.step == step, col(EngineRunRow.index) > 0
        )
        if positions:
            query = query.where(col(EngineRunRow.index).in_(positions))
        async with self._database.read() as session:
            rows = (await session.exec(query.order_by(col(EngineRunRow.index), col(EngineRunRow.attempt)))).all()
        return {row.index: EngineRunRef.model_validate(row.ref) for row in rows}


def _record(row: ItemRow) -> ItemRecord:
    return ItemRecord.model_validate(row.model_dump(include={"position", *_TOLD}))
