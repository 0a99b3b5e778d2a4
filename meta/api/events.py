"""The calls about messages that asked for runs, and about triggers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from google.protobuf.message import Message
from grpc import aio

from meta.api.event_messages import to_event, to_replayed, to_trigger
from meta.api.trigger_report import trigger_report
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.store import Store
from meta.triggers.replay import Replayer
from workflows.errors import InvalidInput
from workflows.suggest import did_you_mean

_Context = aio.ServicerContext[Message, Message]
DEFAULT_PAGE, MAX_PAGE = 50, 500
OUTCOMES = ("started", "held", "dead", "discarded")


class EventCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these.

    Attributes:
        _store: keeps definitions, events and how triggers stand.
        _replayer: tries dead events again.
        _nats: whether the service has a NATS.
        _published: told when what is published has changed.
    """

    _store: Store
    _replayer: Replayer
    _nats: bool
    _published: Callable[[], None]

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: _Context) -> pb.DeleteWorkflowResponse:
        newest = await self._store.workflows.newest(request.name)
        await self._store.workflows.remove(request.name)
        self._published()
        return pb.DeleteWorkflowResponse(triggers=len(newest.definition.triggers))

    async def Events(self, request: pb.EventsRequest, context: _Context) -> pb.EventsResponse:
        if request.page_size < 0:
            raise InvalidInput(f"page_size is {request.page_size}", hint=f"from 1 to {MAX_PAGE}")
        if request.outcome and request.outcome not in OUTCOMES:
            hint = did_you_mean(request.outcome, OUTCOMES, what="outcomes")
            raise InvalidInput(f"no event has the outcome {request.outcome!r}", hint=hint)
        page = await self._store.events.page(
            workflow=request.workflow,
            outcome=request.outcome,
            size=min(request.page_size or DEFAULT_PAGE, MAX_PAGE),
            token=request.page_token,
        )
        return pb.EventsResponse(events=[to_event(row) for row in page.events], next_page_token=page.next_token)

    async def GetEvent(self, request: pb.GetEventRequest, context: _Context) -> pb.Event:
        row = await self._store.events.get(request.id)
        return to_event(row, data=row.data)

    async def ReplayEvents(self, request: pb.ReplayEventsRequest, context: _Context) -> AsyncIterator[pb.ReplayedEvent]:
        if sum((bool(request.ids), bool(request.workflow), request.all)) != 1:
            raise InvalidInput("name events, or a workflow, or all", hint="exactly one of the three")
        events = self._store.events
        ids = await (events.resolve(request.ids) if request.ids else events.dead(request.workflow))
        async with aclosing(self._replayer.replay(ids)) as replays:
            async for replayed in replays:
                yield to_replayed(replayed)

    async def DiscardEvents(self, request: pb.DiscardEventsRequest, context: _Context) -> pb.DiscardEventsResponse:
        ids = await self._store.events.resolve(request.ids)
        return pb.DiscardEventsResponse(discarded=await self._store.events.discard(ids))

    async def Triggers(self, request: pb.TriggersRequest, context: _Context) -> pb.TriggersResponse:
        standings = await trigger_report(self._store, request.workflow, nats=self._nats)
        return pb.TriggersResponse(triggers=[to_trigger(one) for one in standings])
