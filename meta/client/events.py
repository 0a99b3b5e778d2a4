"""The client's calls about events and triggers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from grpc import aio

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from meta.client.connection import CALL_TIMEOUT_S, Connection
from meta.client.event_views import EventInfo, EventsPage, ReplayedInfo, TriggerInfo
from meta.client.retry import error_of, persist


class EventsClient(Connection):
    """Part of `meta.client.MetaClient`."""

    async def delete_workflow(self, name: str) -> int:
        """Take a published name back: nothing starts by it, and its triggers end. Runs go on, and bundles stay.

        Returns:
            How many triggers end.

        Raises:
            NotFound: nothing is published under the name; so also when a call whose answer was lost is repeated.
        """
        request = pb.DeleteWorkflowRequest(name=name)
        reply = await persist(lambda: self._stub.DeleteWorkflow(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return reply.triggers

    async def events(self, *, workflow: str = "", outcome: str = "", size: int = 50, token: str = "") -> EventsPage:
        """A page of messages that asked for runs, newest first, without their data.

        Args:
            workflow: only those that asked for it.
            outcome: only these: started, held, dead, discarded.
            size: 500 at most.
            token: `next_token` of the page before.
        """
        request = pb.EventsRequest(workflow=workflow, outcome=outcome, page_size=size, page_token=token)
        reply = await persist(lambda: self._stub.Events(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return EventsPage(events=[_event(one) for one in reply.events], next_token=reply.next_page_token)

    async def event(self, event_id: str) -> EventInfo:
        """One message with its data.

        Args:
            event_id: or the beginning of one, when no other begins so.

        Raises:
            NotFound: none begins so.
            InvalidInput: several do.
        """
        request = pb.GetEventRequest(id=event_id)
        return _event(await persist(lambda: self._stub.GetEvent(request, timeout=CALL_TIMEOUT_S), self._patience_s))

    async def replay(
        self, event_ids: str | Collection[str] = (), *, workflow: str = "", everything: bool = False
    ) -> AsyncGenerator[ReplayedInfo]:
        """Try dead events again, as if they came now; they start one run each, however often they are replayed.

        Args:
            event_ids: one or several, by their ids or the beginnings of them, or
            workflow: all dead ones that asked for a workflow, or
            everything: all dead ones.

        Yields:
            What became of each, as it ends. One that fails again stays dead.

        Raises:
            NotFound: there is no such event; nothing is replayed.
            ServiceUnavailable: the service does not answer. What it has not answered for can be replayed again.
        """
        request = pb.ReplayEventsRequest(ids=_listed(event_ids), workflow=workflow, all=everything)
        try:
            async for one in self._stub.ReplayEvents(request):
                yield ReplayedInfo(
                    id=one.id,
                    outcome=one.outcome,
                    run_id=one.run_id,
                    created=one.created,
                    code=one.code,
                    reason=one.reason,
                    hint=one.hint,
                )
        except aio.AioRpcError as error:
            raise error_of(error) from error

    async def discard(self, event_ids: str | Collection[str]) -> int:
        """Give dead events up, one or several: all of these or, on an error, none.

        Returns:
            How many were dead; what is given up already stays so.

        Raises:
            NotFound: there is no such event.
            Conflict: one has started a run.
        """
        request = pb.DiscardEventsRequest(ids=_listed(event_ids))
        reply = await persist(lambda: self._stub.DiscardEvents(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return reply.discarded

    async def triggers(self, workflow: str = "") -> list[TriggerInfo]:
        """The triggers of published workflows, of one or of all, and how they stand.

        Raises:
            NotFound: nothing is published under the name.
        """
        request = pb.TriggersRequest(workflow=workflow)
        reply = await persist(lambda: self._stub.Triggers(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return [_trigger(one) for one in reply.triggers]


def _listed(event_ids: str | Collection[str]) -> Collection[str]:
    return [event_ids] if isinstance(event_ids, str) else event_ids


def _event(event: pb.Event) -> EventInfo:
    return EventInfo(
        id=event.id,
        source=event.source,
        subject=event.subject,
        workflow=event.workflow,
        trigger=event.trigger,
        identity=event.identity,
        outcome=event.outcome,
        run_id=event.run_id,
        code=event.code,
        reason=event.reason,
        hint=event.hint,
        deliveries=event.deliveries,
        event_time=convert.from_timestamp(event.event_time if event.HasField("event_time") else None),
        received_at=convert.from_timestamp(event.received_at if event.HasField("received_at") else None),
        updated_at=convert.from_timestamp(event.updated_at if event.HasField("updated_at") else None),
        headers=dict(event.headers),
        data=event.data,
    )


def _trigger(status: pb.TriggerStatus) -> TriggerInfo:
    return TriggerInfo(
        workflow=status.workflow,
        name=status.name,
        subject=status.subject,
        stream=status.stream,
        consumer=status.consumer,
        state=status.state,
        message=status.message,
        hint=status.hint,
        pending=status.pending if status.HasField("pending") else None,
        unacknowledged=status.unacknowledged if status.HasField("unacknowledged") else None,
        updated_at=convert.from_timestamp(status.updated_at if status.HasField("updated_at") else None),
        spec=convert.from_json_object(status.spec_json, "spec_json"),
    )
