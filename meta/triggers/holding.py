"""Writes messages down together that come at the same time: a transaction for each would bound the bursts."""

from __future__ import annotations

import asyncio
from datetime import datetime

from meta.store.event_tables import TriggerEventRow
from meta.store.gathering import Gathering
from meta.store.triggers import MANY, EventRecord

_Waiting = tuple[EventRecord, datetime, asyncio.Future[TriggerEventRow]]


class Holder:
    """While one transaction is under way, others' messages line up for the next."""

    def __init__(self, rows: Gathering) -> None:
        self._rows = rows
        self._line: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def hold(self, record: EventRecord, at: datetime) -> TriggerEventRow:
        """Hold a message that was received at an instant; see `Gathering.hold`.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        future = asyncio.get_running_loop().create_future()
        self._line.append((record, at, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        try:
            while self._line:
                some, self._line = self._line[:MANY], self._line[MANY:]
                await self._write_down(some)
        finally:
            self._writing = None

    async def _write_down(self, some: list[_Waiting]) -> None:
        try:
            rows = await self._rows.hold([(record, at) for record, at, _ in some])
        except Exception as error:  # whatever it is, those who wait for it raise it
            for _, _, future in some:
                if not future.done():
                    future.set_exception(error)
        else:
            for record, _, future in some:
                if not future.done():
                    future.set_result(rows[record.id])

    async def close(self) -> None:
        """Write nothing more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
