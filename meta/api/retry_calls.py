"""gRPC's Retry."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.calls import call_of
from meta.api.retrying import Retrier, Wish
from meta.api.temporal import TemporalRuns
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer


class RetryCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these.

    Attributes:
        _retrier: retries runs.
        _temporal: knows pages of runs.
    """

    _retrier: Retrier
    _temporal: TemporalRuns

    async def Retry(self, request: pb.RetryRequest, context: aio.ServicerContext[Message, Message]) -> pb.RetryResponse:
        trace, cause = call_of(context, "Retry")
        wish = Wish(
            run_id=request.run_id,
            from_step=request.from_step,
            inputs=convert.from_json_object(request.inputs_json, "inputs_json"),
            bundle_digest=request.bundle_digest,
            request_id=request.request_id,
            no_cache=request.no_cache,
        )
        retried = await self._retrier.retry(wish, trace=trace, cause=cause)
        return pb.RetryResponse(
            run_id=retried.started.run_id,
            created=retried.started.created,
            temporal_url=self._temporal.url(retried.started.run_id),
            taken=list(retried.plan.taken),
            again=dict(retried.plan.again),
        )
