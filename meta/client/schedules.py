"""The client's calls about schedules and backfills."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from meta.client.connection import CALL_TIMEOUT_S, Connection
from meta.client.retry import persist
from meta.client.schedule_views import BackfillInfo, ScheduleInfo
from workflows.values import JsonValue

_Schedules, _Backfill = pb.SchedulesRequest, pb.BackfillRequest


LOOK_S = 0.5
"""Seconds between two looks at a backfill that is watched."""


class SchedulesClient(Connection):
    """Part of `meta.client.MetaClient`."""

    async def schedules(self, workflow: str = "", trigger: str = "") -> builtins.list[ScheduleInfo]:
        """The schedules of published workflows, and how they stand at Temporal.

        Raises:
            NotFound: nothing is published under the name, or it has no such schedule.
        """
        return await self._schedules(_Schedules(workflow=workflow, trigger=trigger))

    async def pause_schedule(self, workflow: str, trigger: str = "", note: str = "") -> builtins.list[ScheduleInfo]:
        """Pause a schedule, or all of a workflow. It stays so when the workflow is published again.

        Raises:
            NotFound: as `schedules`.
        """
        return await self._schedules(
            _Schedules(workflow=workflow, trigger=trigger, act=_Schedules.ACT_PAUSE, note=note)
        )

    async def resume_schedule(self, workflow: str, trigger: str = "", note: str = "") -> builtins.list[ScheduleInfo]:
        """Resume a schedule, or all of a workflow; raises as `pause_schedule`."""
        return await self._schedules(
            _Schedules(workflow=workflow, trigger=trigger, act=_Schedules.ACT_RESUME, note=note)
        )

    async def fire_schedule(self, workflow: str, trigger: str = "") -> builtins.list[ScheduleInfo]:
        """Start a run now, as the schedule would, within its `overlap`; raises as `pause_schedule`."""
        fire = _Schedules(workflow=workflow, trigger=trigger, act=_Schedules.ACT_FIRE)
        return await self._schedules(fire, patience_s=0.0)  # not repeated: each call starts a run

    async def backfill(
        self,
        workflow: str,
        start: datetime,
        end: datetime,
        step: timedelta,
        *,
        parallelism: int = 0,
        inputs: Mapping[str, JsonValue] | None = None,
        again: bool = False,
    ) -> BackfillInfo:
        """Run a published workflow for every partition of a stretch of time; the same that goes on is found again.

        Args:
            workflow: its name; the version that is newest now runs in all partitions.
            start: begin of the first partition.
            end: of the last one, itself left out.
            step: length of a partition.
            parallelism: partitions at a time; 0: the service's default of 4.
            inputs: over those that the definition's schedule gives; values may hold `${{ }}` over `event`.
            again: run partitions that are done, too.

        Raises:
            NotFound: nothing is published under the name.
            InvalidInput: the stretch of time, or the inputs.
        """
        request = _Backfill(
            act=_Backfill.ACT_START,
            workflow=workflow,
            start=convert.to_timestamp(start),
            end=convert.to_timestamp(end),
            parallelism=parallelism,
            inputs_json=convert.to_json(dict(inputs or {})),
            again=again,
        )
        request.step.FromTimedelta(step)
        return (await self._backfills(request))[0]

    async def backfills(self, workflow: str = "") -> builtins.list[BackfillInfo]:
        """The newest backfills, those that go on among them."""
        return await self._backfills(_Backfill(workflow=workflow))

    async def get_backfill(self, backfill_id: str) -> BackfillInfo:
        """A backfill as it is now.

        Raises:
            NotFound: there is none of this id.
        """
        return (await self._backfills(_Backfill(id=backfill_id)))[0]

    async def watch_backfill(self, backfill_id: str) -> AsyncGenerator[BackfillInfo]:
        """A backfill now, then after every change, until it has ended.

        Raises:
            NotFound: there is none of this id.
        """
        last: BackfillInfo | None = None
        while last is None or not last.ended:
            now = await self.get_backfill(backfill_id)
            if now != last:
                last = now
                yield now
            if not now.ended:
                await asyncio.sleep(LOOK_S)

    async def pause_backfill(self, backfill_id: str) -> BackfillInfo:
        """No further partition begins; what runs goes on.

        Raises:
            NotFound: there is none of this id.
            Conflict: it has ended.
        """
        return (await self._backfills(_Backfill(act=_Backfill.ACT_PAUSE, id=backfill_id)))[0]

    async def resume_backfill(self, backfill_id: str) -> BackfillInfo:
        """Partitions begin again; raises as `pause_backfill`."""
        return (await self._backfills(_Backfill(act=_Backfill.ACT_RESUME, id=backfill_id)))[0]

    async def cancel_backfill(self, backfill_id: str) -> BackfillInfo:
        """End it; the runs of its partitions end first. Nothing happens to one that has ended.

        Raises:
            NotFound: there is none of this id.
        """
        return (await self._backfills(_Backfill(act=_Backfill.ACT_CANCEL, id=backfill_id)))[0]

    async def _schedules(
        self, request: pb.SchedulesRequest, patience_s: float | None = None
    ) -> builtins.list[ScheduleInfo]:
        patience_s = self._patience_s if patience_s is None else patience_s
        reply = await persist(lambda: self._stub.Schedules(request, timeout=CALL_TIMEOUT_S), patience_s)
        return [_schedule(one) for one in reply.schedules]

    async def _backfills(self, request: pb.BackfillRequest) -> builtins.list[BackfillInfo]:
        reply = await persist(lambda: self._stub.Backfill(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return [_info(one) for one in reply.backfills]


def _schedule(one: pb.Schedule) -> ScheduleInfo:
    return ScheduleInfo(
        workflow=one.workflow,
        trigger=one.trigger,
        times=one.times,
        paused=one.paused,
        note=one.note,
        next=[at for stamp in one.next if (at := convert.from_timestamp(stamp)) is not None],
        last=convert.from_timestamp(one.last if one.HasField("last") else None),
        last_run_id=one.last_run_id,
        state=one.state,
        message=one.message,
    )


def _info(one: pb.BackfillStatus) -> BackfillInfo:
    start, end = convert.from_timestamp(one.start), convert.from_timestamp(one.end)
    assert start is not None  # always set
    assert end is not None
    return BackfillInfo(
        id=one.id,
        workflow=one.workflow,
        state=one.state,
        start=start,
        end=end,
        step=one.step.ToTimedelta(),
        parallelism=one.parallelism,
        total=one.total,
        done=one.done,
        skipped=one.skipped,
        failed=one.failed,
        running=one.running,
        failed_runs=[*one.failed_runs],
        temporal_url=one.temporal_url,
    )
