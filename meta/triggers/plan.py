"""Which triggers there should be: those of the newest version of every published definition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from meta.store import Store
from meta.store.bundles import PublishedVersion
from meta.store.event_tables import TriggerRow
from meta.store.trigger_states import DeclaredTrigger
from meta.triggers.names import durable_name
from workflows.errors import NotFound
from workflows.spec.trigger_models import NatsTrigger


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trigger and what the store knows of it."""

    workflow: str
    trigger: NatsTrigger
    row: TriggerRow


@dataclass(frozen=True, slots=True)
class Plan:
    """Triggers that there should be, and those whose definition has gone or no longer has them."""

    wanted: list[Wanted]
    gone: list[TriggerRow]


class Planner:
    """Compares what is published with what the store knows of triggers. Definitions are read when they change only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[PublishedVersion, list[NatsTrigger]]] = {}

    async def plan(self) -> Plan:
        """Look; what is new is written down, so that nothing is made at NATS that the store does not know.

        The rows are read before the definitions. The other way round, a trigger that another service has declared in
        between would look like one that is no longer wanted.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        rows = {(row.workflow, row.name): row for row in await self._store.trigger_states.list()}
        wanted = await self._triggers()
        news = [
            one for key, one in wanted.items() if (row := rows.get(key)) is None or not _same(row, one.declared)
        ]  # fmt: skip
        if news:
            await self._store.trigger_states.declare([one.declared for one in news])
            rows |= {(row.workflow, row.name): row for row in await self._store.trigger_states.list()}
        return Plan(
            wanted=[Wanted(one.workflow, one.trigger, rows[key]) for key, one in wanted.items() if key in rows],
            gone=[row for key, row in rows.items() if key not in wanted],
        )

    async def _triggers(self) -> dict[tuple[str, str], _Published]:
        versions = await self._store.workflows.versions()
        for name, version in versions.items():
            if (known := self._known.get(name)) is None or known[0] != version:
                self._known[name] = (version, await self._read(version.bundle_digest))
        for name in self._known.keys() - versions.keys():
            del self._known[name]
        return {
            (name, trigger.key): _Published(name, trigger, version.published_at)
            for name, (version, triggers) in self._known.items()
            for trigger in triggers
        }

    async def _read(self, digest: str) -> list[NatsTrigger]:
        try:
            definition = (await self._store.bundles.get(digest)).definition
        except NotFound:
            return []
        return [trigger.nats for trigger in definition.triggers if trigger.nats is not None]


@dataclass(frozen=True, slots=True)
class _Published:
    workflow: str
    trigger: NatsTrigger
    published_at: datetime

    @property
    def declared(self) -> DeclaredTrigger:
        return DeclaredTrigger(
            workflow=self.workflow,
            name=self.trigger.key,
            subject=self.trigger.subject,
            consumer=durable_name(self.workflow, self.trigger.key),
            spec=self.trigger.model_dump(mode="json", by_alias=True, exclude_unset=True),
            published_at=self.published_at,
        )


def _same(row: TriggerRow, declared: DeclaredTrigger) -> bool:
    return (row.subject, row.consumer, row.spec) == (declared.subject, declared.consumer, declared.spec)
