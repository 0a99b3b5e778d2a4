"""gRPC's Plan."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import aio

from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer


class PlanCalls(MetaServiceServicer):
    async def Plan(self, request: pb.PlanRequest, context: aio.ServicerContext[Message, Message]) -> pb.PlanResponse:
        raise NotImplementedError
