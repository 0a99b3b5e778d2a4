"""gRPC's Decide."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from workflows.decisions import Decide, Decided, decided_otherwise, same
from workflows.errors import Conflict, InvalidInput, NotFound
from workflows.messages import RunSnapshot


class ApprovalCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these."""

    _starter: Starter
    _temporal: TemporalRuns

    async def Decide(
        self, request: pb.DecideRequest, context: aio.ServicerContext[Message, Message]
    ) -> pb.DecideResponse:
        if not request.by.strip():
            raise InvalidInput("nobody decides: 'by' is empty", hint="say who approves or rejects")
        message = Decide(
            step=request.step,
            approve=request.approve,
            by=request.by,
            reason=request.reason,
            digest=request.digest,
        )
        answer = await self._temporal.decide(request.run_id, message)
        if answer is None:
            answer = _decided_before(await self._starter.find(request.run_id), message)
        return pb.DecideResponse(
            step=answer.step, decision=convert.to_decision(answer.decision), decided=answer.decided
        )


def _decided_before(run: RunSnapshot, message: Decide) -> Decided:
    """The answer for a run that has ended: what was decided while it ran is no error when it is said again.

    Raises:
        NotFound: there is no such approval.
        Conflict: it was decided otherwise, or not at all.
    """
    steps = [step for step in run.steps if message.step in ("", step.name)]
    if message.step and not steps:
        raise NotFound(f"no step '{message.step}' in run {run.id!r}", hint=f"`meta get {run.id}` shows its steps")
    for step in steps:
        if step.decision is not None and same(step.decision, message):
            return Decided(step=step.name, decision=step.decision, decided=False)
    for step in steps:
        if message.step and step.decision is not None:
            raise decided_otherwise(step.name, step.decision)
    raise Conflict(f"run {run.id} has ended, and asks nothing any more", hint=f"`meta get {run.id}` shows how it went")
