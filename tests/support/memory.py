"""Ports kept in memory, for tests of workflows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from workers.ports import AskedRun, CachedSuccess, NewestBundle, Work
from workflows.bundle import Bundle
from workflows.errors import NotFound
from workflows.fanout_messages import ItemLists, ItemRecord
from workflows.item_lists import lists_of
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome
from workflows.spec.models import MetaWorkflow


@dataclass
class MemoryStore:
    """Implements BundleStore and Recorder."""

    others: list[tuple[RunKey, EngineRunRef]] = field(default_factory=list[tuple[RunKey, EngineRunRef]])

    bundles: dict[str, Bundle] = field(default_factory=dict[str, Bundle])
    published: dict[str, str] = field(default_factory=dict[str, str])
    started: dict[str, RunSnapshot] = field(default_factory=dict[str, RunSnapshot])
    submitted: list[RunKey] = field(default_factory=list[RunKey])
    ended: list[RunKey] = field(default_factory=list[RunKey])
    cut: dict[RunKey, FailureClass] = field(default_factory=dict[RunKey, FailureClass])
    snapshots: dict[str, RunSnapshot] = field(default_factory=dict[str, RunSnapshot])
    notes: dict[RunKey, str] = field(default_factory=dict[RunKey, str])
    work: list[Work] = field(default_factory=list[Work])
    items: dict[tuple[str, str, int], ItemRecord] = field(default_factory=dict[tuple[str, str, int], ItemRecord])
    successes: dict[str, CachedSuccess] = field(default_factory=dict[str, CachedSuccess])

    def put(self, bundle: Bundle) -> str:
        self.bundles[bundle.digest] = bundle
        return bundle.digest

    async def get(self, digest: str) -> Bundle:
        if digest not in self.bundles:
            raise NotFound(f"no bundle {digest}")
        return self.bundles[digest]

    def publish(self, bundle: Bundle) -> str:
        self.published[bundle.definition.name] = digest = self.put(bundle)
        return digest

    async def newest(self, workflow: str) -> NewestBundle:
        if workflow not in self.published:
            raise NotFound(f"no workflow {workflow!r} is published")
        digest = self.published[workflow]
        return NewestBundle(digest, self.bundles[digest].definition)

    async def asked_runs(self, workflow: str, prefix: str) -> list[AskedRun]:
        runs = self.started | self.snapshots
        return [
            AskedRun(one.id, one.request_id, one.state)
            for one in runs.values()
            if one.workflow == workflow and one.request_id.startswith(prefix)
        ]

    async def run_started(self, snapshot: RunSnapshot, inputs_digest: str, definition: MetaWorkflow) -> None:
        self.started[snapshot.id] = snapshot

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
        self.submitted.append(key)

    async def worked(self, work: Work) -> None:
        self.work.append(work)

    async def noted(self, key: RunKey, note: str) -> None:
        self.notes[key] = note

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
        self.ended.append(key)
        if success is not None:
            self.successes[success.key] = success

    async def cached(self, key: str) -> CachedSuccess | None:
        return self.successes.get(key)

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        self.cut[key] = failure

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        self.snapshots[snapshot.id] = snapshot

    async def record_items(self, run: str, step: str, items: Sequence[ItemRecord]) -> None:
        self.items |= {(run, step, one.position): one for one in items}

    async def item_lists(self, run: str, step: str, total: int) -> ItemLists:
        found = {place: one for (of, name, place), one in self.items.items() if (of, name) == (run, step)}
        return lists_of(found, 0, total)

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        self.others.append((key, ended))
