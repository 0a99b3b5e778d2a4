"""gRPC's Schedules: the schedules of published workflows, and how they stand at Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from temporalio.client import ScheduleActionExecutionStartWorkflow, ScheduleDescription, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from meta.api import convert
from meta.api.temporal import RPC_TIMEOUT, TemporalRuns, unavailable
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.schedules.making import WantedSchedule, is_newer, mark_of, run_of
from meta.schedules.runtime import Schedules
from meta.store import Store
from workflows.errors import InvalidInput, NotFound
from workflows.suggest import did_you_mean

NEXT = 5
"""Next times that are told."""

_Act = pb.SchedulesRequest


class ScheduleCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these.

    Attributes:
        _store: knows what is published.
        _temporal: has the schedules.
        _schedules: keeps them up to date.
    """

    _store: Store
    _temporal: TemporalRuns
    _schedules: Schedules

    async def Schedules(
        self, request: pb.SchedulesRequest, context: aio.ServicerContext[Message, Message]
    ) -> pb.SchedulesResponse:
        wanted = await self._wanted(request)
        if request.act != _Act.ACT_LIST:
            await self._schedules.round()  # one that was published a moment ago is made first
            for one in wanted:
                await self._act(one, request.act, request.note)
        return pb.SchedulesResponse(schedules=await asyncio.gather(*(self._status(one) for one in wanted)))

    async def _wanted(self, request: pb.SchedulesRequest) -> list[WantedSchedule]:
        """The schedules that a request names.

        Raises:
            NotFound: no such workflow, or it has no such schedule.
            InvalidInput: something is to be done, and no workflow is named.
        """
        if request.act != _Act.ACT_LIST and not request.workflow:
            raise InvalidInput("name a workflow", hint="`meta schedules` lists them")
        if request.workflow:
            await self._store.workflows.newest(request.workflow)  # says what is close to a name that is not there
        found = [one for one in await self._schedules.wanted() if request.workflow in ("", one.workflow)]
        if request.trigger or request.act != _Act.ACT_LIST:
            keys = [one.trigger.key for one in found]
            if not keys:
                hint = "schedules stand under 'triggers' of a definition"
                raise NotFound(f"{request.workflow} has no schedule", hint=hint)
            if request.trigger and request.trigger not in keys:
                hint = did_you_mean(request.trigger, keys, what="its schedules")
                raise NotFound(f"{request.workflow} has no schedule {request.trigger!r}", hint=hint)
            found = [one for one in found if request.trigger in ("", one.trigger.key)]
        return sorted(found, key=lambda one: one.id)

    async def _act(self, wanted: WantedSchedule, act: pb.SchedulesRequest.Act.ValueType, note: str) -> None:
        handle = self._temporal.client.get_schedule_handle(wanted.id)
        try:
            with unavailable():
                if act == _Act.ACT_PAUSE:
                    await handle.pause(note=note or "paused by hand", rpc_timeout=RPC_TIMEOUT)
                elif act == _Act.ACT_RESUME:
                    await handle.unpause(note=note or "resumed by hand", rpc_timeout=RPC_TIMEOUT)
                elif act == _Act.ACT_FIRE:
                    await handle.trigger(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            words = self._schedules.fault(wanted.id) or "it is made within seconds"
            raise NotFound(f"Temporal does not have schedule {wanted.trigger.key} yet", hint=words) from error

    async def _status(self, wanted: WantedSchedule) -> pb.Schedule:
        said = pb.Schedule(workflow=wanted.workflow, trigger=wanted.trigger.key, times=wanted.trigger.times)
        fault = self._schedules.fault(wanted.id)
        try:
            with unavailable():
                there = await _describe(self._temporal.client.get_schedule_handle(wanted.id))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            said.state, said.message = "missing", fault or "the service makes it within seconds"
            return said
        said.state = "ok"
        if is_newer(wanted.mark, mark_of(there)):
            said.state, said.message = "unknown", fault or "the service takes its change up within seconds"
        state, info = there.schedule.state, there.info
        said.paused, said.note = state.paused, state.note or ""
        if not state.paused:
            said.next.extend(_stamps(info.next_action_times[:NEXT]))
        if info.recent_actions:
            last = info.recent_actions[-1]
            said.last.CopyFrom(_stamps([last.started_at])[0])
            if isinstance(last.action, ScheduleActionExecutionStartWorkflow):
                said.last_run_id = run_of(wanted.workflow, wanted.trigger.key, last.action.workflow_id)
        return said


async def _describe(handle: ScheduleHandle) -> ScheduleDescription:
    return await handle.describe(rpc_timeout=RPC_TIMEOUT)


def _stamps(times: Sequence[datetime]) -> list[Timestamp]:
    return [stamp for at in times if (stamp := convert.to_timestamp(at)) is not None]
