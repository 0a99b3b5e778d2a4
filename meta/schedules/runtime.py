"""Keeps Temporal's schedules as the published definitions have them.

Any number of services do so at the same time: what one makes, the others find.
"""

from __future__ import annotations

import asyncio
import logging

from temporalio.client import (
    Client,
    ScheduleAlreadyRunningError,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from meta.api.temporal import RPC_TIMEOUT, TemporalRuns, unavailable
from meta.schedules.making import PREFIX, WantedSchedule, is_newer, make_schedule, mark_of
from meta.store import Store
from meta.store.bundles import PublishedVersion
from workflows.errors import MetaError, NotFound, ServiceUnavailable
from workflows.spec.trigger_models import ScheduleTrigger

log = logging.getLogger(__name__)

ROUND_S = 10.0
"""Between two looks at what is published, when nothing calls for one at once."""

ALL_S = 60.0
"""Between two looks at every schedule, in case that somebody has changed one by other means."""


class Schedules:
    """Runs inside the service.

    Args:
        store: knows what is published.
        temporal: has the schedules.
    """

    def __init__(self, store: Store, temporal: TemporalRuns) -> None:
        self._store = store
        self._temporal = temporal
        self._nudged = asyncio.Event()
        self._known: dict[str, tuple[PublishedVersion, list[ScheduleTrigger]]] = {}
        self._made: dict[str, str] = {}  # marks by id, as this service has last seen them
        self._faults: dict[str, str] = {}
        self._looked_at: float | None = None  # at all of them
        self._one_at_a_time = asyncio.Lock()

    def nudge(self) -> None:
        """Look at once: what is published has changed."""
        self._nudged.set()

    def fault(self, schedule_id: str) -> str:
        """Why a schedule could not be brought up to date, the last time; empty when it could."""
        return self._faults.get(schedule_id, "")

    async def run(self) -> None:
        """Work until cancelled; Temporal and the store may come and go."""
        while True:
            self._nudged.clear()
            try:
                await self.round()
            except ServiceUnavailable as error:
                log.warning("schedules: %s", error)
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._nudged.wait()
            except TimeoutError:
                pass

    async def round(self) -> None:
        """Compare once.

        Raises:
            ServiceUnavailable: Temporal or the store does not answer.
        """
        async with self._one_at_a_time:
            now = asyncio.get_running_loop().time()
            due = self._looked_at is None or now - self._looked_at > ALL_S
            if not due and self._made == {one.id: one.mark for one in await self.wanted()}:
                return
            # Temporal's first: what another service has made by then is published by the time the store is asked.
            there = await self._there(self._temporal.client)
            wanted = {one.id: one for one in await self.wanted()}
            for gone in sorted(there - wanted.keys()):
                await self._remove(self._temporal.client, gone)
            for one in wanted.values():
                if due or self._made.get(one.id) != one.mark:
                    await self.ensure(one)
            self._made = {one: mark for one, mark in self._made.items() if one in wanted}
            self._looked_at = now if due else self._looked_at

    async def wanted(self) -> list[WantedSchedule]:
        """The schedules of the newest definitions; those are read when they change only."""
        versions = await self._store.workflows.versions()
        for name, version in versions.items():
            if (known := self._known.get(name)) is None or known[0] != version:
                try:
                    definition = (await self._store.bundles.get(version.bundle_digest)).definition
                except NotFound:
                    continue
                triggers = [one.schedule for one in definition.triggers if one.schedule is not None]
                self._known[name] = (version, triggers)
        for name in self._known.keys() - versions.keys():
            del self._known[name]
        return [
            WantedSchedule(name, trigger, version)
            for name, (version, triggers) in self._known.items()
            for trigger in triggers
        ]

    async def _there(self, client: Client) -> set[str]:
        """Ids of the schedules that are ours. Temporal's list may lag a moment behind; the next look sees the rest."""
        with unavailable():
            found = await client.list_schedules(rpc_timeout=RPC_TIMEOUT)
            return {one.id async for one in found if one.id.startswith(PREFIX)}

    async def ensure(self, wanted: WantedSchedule) -> None:
        """Bring a schedule to a version, unless it is there or further.

        Raises:
            ServiceUnavailable: Temporal does not answer.
        """
        try:
            if await self._update(self._temporal.client, wanted):
                log.info("schedule %s is as version %d has it", wanted.id, wanted.version.version)
        except RPCError as error:  # Temporal refuses what it is to have
            self._faults[wanted.id] = f"Temporal refuses it: {error.message}"
            log.warning("schedule %s is not made: %s", wanted.id, error.message)
        except MetaError as error:
            self._faults[wanted.id] = error.message
            raise
        else:
            self._faults.pop(wanted.id, None)
            self._made[wanted.id] = wanted.mark

    async def _update(self, client: Client, wanted: WantedSchedule) -> bool:
        """Bring a schedule to a version, unless it is there; False when nothing had to change."""
        handle = client.get_schedule_handle(wanted.id)
        changed = False

        def change(given: ScheduleUpdateInput) -> ScheduleUpdate | None:
            nonlocal changed
            changed = is_newer(wanted.mark, mark_of(given.description))
            if not changed:
                return None
            return ScheduleUpdate(make_schedule(wanted, given.description.schedule.state))

        with unavailable():
            try:
                await handle.update(change, rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
            else:
                return changed
            try:
                await client.create_schedule(wanted.id, make_schedule(wanted), rpc_timeout=RPC_TIMEOUT)
            except ScheduleAlreadyRunningError:  # another service was first
                return False
        return True

    async def _remove(self, client: Client, schedule_id: str) -> None:
        with unavailable():
            try:
                await client.get_schedule_handle(schedule_id).delete(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
        self._made.pop(schedule_id, None)
        self._faults.pop(schedule_id, None)
        log.info("schedule %s is no more: no published definition has it", schedule_id)
