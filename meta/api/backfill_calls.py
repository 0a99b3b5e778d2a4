"""gRPC's Backfill: starts, lists, pauses, resumes and cancels backfills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.backfills import Backfills, BackfillStanding
from meta.api.temporal import TemporalRuns
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.store import Store
from workflows.child_messages import BackfillPlan
from workflows.errors import InputsInvalid, InvalidInput
from workflows.inputs import check_inputs
from workflows.planned_inputs import rendered, time_event
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

MAX_PARTITIONS = 100_000
MAX_PARALLELISM = 100
PARALLELISM = 4

_Act = pb.BackfillRequest


class BackfillCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these.

    Attributes:
        _store: knows what is published.
        _temporal: has the backfills.
    """

    _store: Store
    _temporal: TemporalRuns

    async def Backfill(
        self, request: pb.BackfillRequest, context: aio.ServicerContext[Message, Message]
    ) -> pb.BackfillResponse:
        backfills = Backfills(self._temporal)
        if request.act == _Act.ACT_LIST:
            found = [await backfills.get(request.id)] if request.id else await backfills.list(request.workflow)
            return pb.BackfillResponse(backfills=[self._to_status(one) for one in found])
        if request.act == _Act.ACT_START:
            wanted = await backfills.start(await self._plan(request))
        else:
            wanted = request.id
            if not wanted:
                raise InvalidInput("name a backfill", hint="`meta backfill list` shows their ids")
            act = {
                _Act.ACT_PAUSE: backfills.pause,
                _Act.ACT_RESUME: backfills.resume,
                _Act.ACT_CANCEL: backfills.cancel,
            }
            await act[request.act](wanted)
        return pb.BackfillResponse(backfills=[self._to_status(await backfills.get(wanted))])

    async def _plan(self, request: pb.BackfillRequest) -> BackfillPlan:
        """What is to be run, checked on the first partition.

        Raises:
            NotFound: nothing is published under the name.
            InvalidInput: the stretch of time, or the inputs.
        """
        start, end, step = _stretch(request)
        if not 0 <= request.parallelism <= MAX_PARALLELISM:
            hint = f"from 1 to {MAX_PARALLELISM}"
            raise InvalidInput(f"a parallelism of {request.parallelism}", hint=hint)
        newest = await self._store.workflows.newest(request.workflow)
        given = convert.from_json_object(request.inputs_json, "inputs_json")
        plan = BackfillPlan(
            workflow=request.workflow,
            bundle_digest=newest.bundle_digest,
            start=start,
            end=end,
            step=step,
            parallelism=request.parallelism or PARALLELISM,
            inputs=scheduled_inputs(newest.definition) | given,
            again=request.again,
        )
        if plan.total > MAX_PARTITIONS:
            raise InvalidInput(f"{plan.total:,} partitions, {MAX_PARTITIONS:,} at most", hint="take a longer step")
        first = plan.partition(0)
        try:
            check_inputs(
                newest.definition, rendered(plan.inputs, time_event(plan.workflow, "", first.start, first.end))
            )
        except InputsInvalid as error:
            hint = f"{error.hint}; values may read event.time, event.date, event.end".removeprefix("; ")
            raise InputsInvalid(error.message, hint=hint) from error
        return plan

    def _to_status(self, standing: BackfillStanding) -> pb.BackfillStatus:
        plan, progress = standing.plan, standing.progress
        status = pb.BackfillStatus(
            id=standing.id,
            workflow=plan.workflow,
            state=standing.state,
            start=convert.to_timestamp(plan.start),
            end=convert.to_timestamp(plan.end),
            parallelism=plan.parallelism,
            total=plan.total,
            temporal_url=self._temporal.url(standing.id),
        )
        status.step.CopyFrom(_duration(plan.step))
        if progress is not None:
            status.done, status.skipped = progress.done, progress.skipped
            status.failed = progress.failed
            status.running = progress.running if standing.state in ("running", "paused") else 0
            status.failed_runs.extend(progress.failed_runs + progress.messages)
        return status


def scheduled_inputs(definition: MetaWorkflow) -> JsonObject:
    """The inputs that the definition's schedules give, where all give the same: a backfill makes up for those."""
    given = [one.schedule.inputs for one in definition.triggers if one.schedule is not None]
    return dict(given[0]) if given and all(one == given[0] for one in given) else {}


def _stretch(request: pb.BackfillRequest) -> tuple[datetime, datetime, timedelta]:
    if not (request.HasField("start") and request.HasField("end") and request.HasField("step")):
        raise InvalidInput(
            "a backfill needs start, end and step", hint="as in --from 2026-01-01 --to 2026-02-01 --step 1d"
        )
    start, end = (stamp.ToDatetime(tzinfo=UTC) for stamp in (request.start, request.end))
    step = request.step.ToTimedelta()
    if step < timedelta(seconds=1):
        raise InvalidInput(f"a step of {step}", hint="at least 1s")
    if start >= end:
        raise InvalidInput("the end is not after the start", hint="the end itself is left out")
    return start, end, step


def _duration(value: timedelta) -> Duration:
    made = Duration()
    made.FromTimedelta(value)
    return made
