"""The store as one object, for the service and for workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Self

from meta.store.bundles import Bundles, Workflows
from meta.store.circuits import EngineCircuits
from meta.store.database import Database, parse_url
from meta.store.engine_runs import EngineRuns
from meta.store.event_log import EventLog
from meta.store.exports import Exports
from meta.store.gathering import Gathering
from meta.store.items import ItemStore
from meta.store.leases import KeyLeases
from meta.store.migrate import migrate
from meta.store.outbox import Outbox
from meta.store.recorder import LineageRecorder
from meta.store.runs import Runs
from meta.store.slots import EngineSlots
from meta.store.step_cache import CachedSteps
from meta.store.traces import Traces
from meta.store.trigger_gates import TriggerGates
from meta.store.trigger_states import TriggerStates
from meta.store.triggers import TriggerEvents
from workers.ports import AskedRun, CachedSuccess, EngineLoad, Lease, NewestBundle, Work
from workflows.bundle import Bundle
from workflows.fanout_messages import ItemLists, ItemRecord
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome
from workflows.spec.models import MetaWorkflow


class Store:
    """Everything that is kept, by concept; itself what workers need from outside (`workers.ports`)."""

    def __init__(
        self, database: Database, *, outgoing: bool = False, sampling: float = 1.0, sinks: Collection[str] = ()
    ) -> None:
        self.database = database
        self.outbox = Outbox(database, sampling)
        self.exports = Exports(database, sinks)
        self.bundles = Bundles(database)
        self.workflows = Workflows(database)
        self.runs = Runs(database, self.outbox if outgoing else None, self.exports)
        self.recorder = LineageRecorder(database, self.runs)
        self.items = ItemStore(database)
        self.cached_steps = CachedSteps(database)
        self.traces = Traces(database, self.runs)
        self.engine_runs = EngineRuns(database, self.runs)
        self.triggers = TriggerEvents(database)
        self.gathering = Gathering(database)
        self.events = EventLog(database)
        self.trigger_states = TriggerStates(database)
        self.trigger_gates = TriggerGates(database)
        self.leases = KeyLeases(database)
        self.slots = EngineSlots(database)
        self.circuits = EngineCircuits(database)

    @classmethod
    async def open(
        cls, url: str, *, outgoing: bool = False, sampling: float = 1.0, sinks: Collection[str] = ()
    ) -> Self:
        """Connect, and bring the schema up to date.

        Args:
            url: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://user:password@host/name`.
            outgoing: write down life-cycle events, for a publisher to send; without one they would pile up.
            sampling: ratio of traces that are exported, which the events say.
            sinks: who is to hear of runs, by name; see `Exports`.

        Raises:
            SettingsInvalid: not such an address.
            DataDirBroken: the file cannot be made, is damaged, or was written by a newer version.
            ServiceUnavailable: the database does not answer.
        """
        database = Database(parse_url(url))
        try:
            await migrate(database)
            await KeyLeases(database).clear_old()
        except BaseException:
            await database.close()
            raise
        return cls(database, outgoing=outgoing, sampling=sampling, sinks=sinks)

    async def close(self) -> None:
        await self.database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, digest: str) -> Bundle:
        """See `Bundles.get`."""
        return await self.bundles.get(digest)

    async def newest(self, workflow: str) -> NewestBundle:
        """See `Workflows.newest`."""
        found = await self.workflows.newest(workflow)
        return NewestBundle(found.bundle_digest, found.definition)

    async def asked_runs(self, workflow: str, prefix: str) -> list[AskedRun]:
        """See `Runs.asked`."""
        return list(await self.runs.asked(workflow, prefix))

    async def run_started(self, snapshot: RunSnapshot, inputs_digest: str, definition: MetaWorkflow) -> None:
        """See `Runs.create`."""
        await self.runs.create(snapshot, inputs_digest, definition)

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
        """See `LineageRecorder.attempt_submitted`."""
        await self.recorder.attempt_submitted(workflow, key, ref, at, asked_at=asked_at, tries=tries)

    async def worked(self, work: Work) -> None:
        """See `LineageRecorder.worked`."""
        await self.recorder.worked(work)

    async def noted(self, key: RunKey, note: str) -> None:
        """See `EngineRuns.noted`."""
        await self.engine_runs.noted(key, note)

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
        """See `LineageRecorder.attempt_ended`."""
        await self.recorder.attempt_ended(workflow, key, ref, outcome, at, success=success)

    async def cached(self, key: str) -> CachedSuccess | None:
        """See `CachedSteps.cached`."""
        return await self.cached_steps.cached(key)

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        """See `LineageRecorder.attempt_cut`."""
        await self.recorder.attempt_cut(key, failure, message)

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """See `LineageRecorder.snapshot`."""
        await self.recorder.snapshot(snapshot)

    async def record_items(self, run: str, step: str, items: Sequence[ItemRecord]) -> None:
        """See `ItemStore.record`."""
        await self.items.record(run, step, items)

    async def item_lists(self, run: str, step: str, total: int) -> ItemLists:
        """See `ItemStore.lists`."""
        return await self.items.lists(run, step, total)

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        """See `LineageRecorder.other_run_ended`."""
        await self.recorder.other_run_ended(key, stays, ended, at)

    async def take_lease(self, key: RunKey, token: str, holder: str, seconds: float) -> Lease:
        """See `KeyLeases.take`."""
        return await self.leases.take(key, token, holder, seconds)

    async def renew_lease(self, key: RunKey, token: str, seconds: float) -> bool:
        """See `KeyLeases.renew`."""
        return await self.leases.renew(key, token, seconds)

    async def release_lease(self, key: RunKey, token: str) -> None:
        """See `KeyLeases.release`."""
        await self.leases.release(key, token)

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        """See `KeyLeases.first_end`."""
        return await self.leases.first_end(key, uid, end)

    async def record_circuits(self, worker: str, loads: Mapping[str, EngineLoad]) -> None:
        """See `EngineCircuits.record`."""
        await self.circuits.record(worker, loads)
