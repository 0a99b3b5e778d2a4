"""The service's job that tells the lineage receiver of runs: at least once, and never in the way of a run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from meta.config import LineageConfig
from meta.lineage.events import LineageEvent, lineage_events
from meta.lineage.sender import EventRefused, Sender
from meta.store import Store
from meta.store.exports import Due, Settled
from meta.telemetry.sinks import LINEAGE
from workers.log_context import context_of_run, logged_about
from workflows.errors import NotFound, ServiceUnavailable
from workflows.outcome import RunState
from workflows.spec.models import MetaWorkflow

log = logging.getLogger(__name__)

_TOGETHER = 10  # runs of one claim
_LOT = 20  # events between two settlings: a claim must not run out over a long run
_DEFINITIONS = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between looks for what other processes have written, and of pauses while the receiver is away."""

    look: float = 2.0
    first_pause: float = 1.0
    longest_pause: float = 60.0


class LineageExporter:
    """Sends what is due until cancelled.

    Args:
        config: where to.
        store: has the sink `openlineage` on.
        pace: for tests.
    """

    def __init__(self, config: LineageConfig, store: Store, pace: Pace | None = None) -> None:
        self._config = config
        self._store = store
        self._pace = pace or Pace()
        self._failures = 0
        self._definitions: dict[str, MetaWorkflow] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        sender = Sender(self._config)
        added = self._store.exports.added[LINEAGE]
        try:
            while True:
                added.clear()
                try:
                    if await self._round(sender):
                        continue
                except ServiceUnavailable as error:
                    await asyncio.sleep(self._pause(error))
                    continue
                try:
                    async with asyncio.timeout(self._pace.look):
                        await added.wait()
                except TimeoutError:
                    pass
        finally:
            sender.close()

    async def _round(self, sender: Sender) -> bool:
        """Tell of some runs; False when none is due.

        Raises:
            ServiceUnavailable: the receiver or the store does not answer; what was told is settled.
        """
        dues = await self._store.exports.claim(LINEAGE, _TOGETHER)
        for at, due in enumerate(dues):
            try:
                with logged_about(context_of_run(due.run_id, None)):
                    await self._tell(sender, due)
            except ServiceUnavailable:
                await self._store.exports.release(LINEAGE, dues[at + 1 :])
                raise
        return bool(dues)

    async def _tell(self, sender: Sender, due: Due) -> None:
        try:
            record = await self._store.traces.record(due.run_id)
        except NotFound:
            await self._store.exports.settle_claims(LINEAGE, [Settled(due, ended=True)])
            return
        definition = await self._definition(record.run.bundle_digest)
        news = lineage_events(record, definition, namespace=self._config.namespace, over=due.over, told=due.told)
        lot = news[:_LOT]
        told: list[str] = []
        try:
            for one in lot:
                await self._send(sender, one)
                told.append(one.mark)
        except ServiceUnavailable:
            # It stays due: the pause before the next try is for all runs together.
            await self._store.exports.settle_claims(LINEAGE, [Settled(due, told, wait_s=0.0)])
            raise
        more = len(news) > len(lot)
        ended = record.run.state is not RunState.RUNNING and not more
        await self._store.exports.settle_claims(
            LINEAGE, [Settled(due, told, ended=ended, wait_s=0.0 if more else None)]
        )

    async def _send(self, sender: Sender, one: LineageEvent) -> None:
        try:
            await sender.send(one.event)
        except EventRefused as error:
            log.error("the lineage receiver refuses '%s', it is left out: %s", one.mark, error)
        if self._failures:
            log.info("the lineage receiver answers again")
            self._failures = 0

    def _pause(self, error: ServiceUnavailable) -> float:
        """Seconds until the next try."""
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th time
            log.warning("lineage waits in the store, try %d: %s", self._failures, error.message)
        return min(self._pace.first_pause * 2.0 ** min(self._failures - 1, 16), self._pace.longest_pause)

    async def _definition(self, digest: str) -> MetaWorkflow | None:
        if digest not in self._definitions:
            try:
                found = (await self._store.bundles.get(digest)).definition
            except NotFound:
                return None
            if len(self._definitions) >= _DEFINITIONS:
                del self._definitions[next(iter(self._definitions))]  # the one that was read first
            self._definitions[digest] = found
        return self._definitions[digest]
