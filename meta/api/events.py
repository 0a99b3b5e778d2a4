"""The calls about messages that asked for runs, and about triggers."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import Message
from grpc import aio

from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from workflows.errors import InvalidInput

_Context = aio.ServicerContext[Message, Message]


class EventCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`."""

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: _Context) -> pb.DeleteWorkflowResponse:
        raise InvalidInput("not served yet")

    async def Events(self, request: pb.EventsRequest, context: _Context) -> pb.EventsResponse:
        raise InvalidInput("not served yet")

    async def GetEvent(self, request: pb.GetEventRequest, context: _Context) -> pb.Event:
        raise InvalidInput("not served yet")

    async def ReplayEvents(self, request: pb.ReplayEventsRequest, context: _Context) -> AsyncIterator[pb.ReplayedEvent]:
        raise InvalidInput("not served yet")
        yield pb.ReplayedEvent()

    async def DiscardEvents(self, request: pb.DiscardEventsRequest, context: _Context) -> pb.DiscardEventsResponse:
        raise InvalidInput("not served yet")

    async def Triggers(self, request: pb.TriggersRequest, context: _Context) -> pb.TriggersResponse:
        raise InvalidInput("not served yet")
