"""Ports kept in memory, for tests of workflows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from workers.ports import CachedSuccess, Work
from workflows.bundle import Bundle
from workflows.errors import NotFound
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome


@dataclass
class MemoryStore:
    """Implements BundleStore and Recorder."""

    others: list[tuple[RunKey, EngineRunRef]] = field(default_factory=list[tuple[RunKey, EngineRunRef]])

    bundles: dict[str, Bundle] = field(default_factory=dict[str, Bundle])
    submitted: list[RunKey] = field(default_factory=list[RunKey])
    ended: list[RunKey] = field(default_factory=list[RunKey])
    cut: dict[RunKey, FailureClass] = field(default_factory=dict[RunKey, FailureClass])
    snapshots: dict[str, RunSnapshot] = field(default_factory=dict[str, RunSnapshot])
    notes: dict[RunKey, str] = field(default_factory=dict[RunKey, str])
    work: list[Work] = field(default_factory=list[Work])
    successes: dict[str, CachedSuccess] = field(default_factory=dict[str, CachedSuccess])

    def put(self, bundle: Bundle) -> str:
        self.bundles[bundle.digest] = bundle
        return bundle.digest

    async def get(self, digest: str) -> Bundle:
        if digest not in self.bundles:
            raise NotFound(f"no bundle {digest}")
        return self.bundles[digest]

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

    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        self.others.append((key, ended))
