"""gRPC's Items: what the items of a fan-out came to."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.starter import Starter
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.store import Store
from workflows.errors import InvalidInput, NotFound
from workflows.fanout_messages import ItemRecord
from workflows.messages import StepSnapshot
from workflows.outcome import EngineRunRef, StepState
from workflows.suggest import did_you_mean

DEFAULT_PAGE, MAX_PAGE = 100, 500


class ItemCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these.

    Attributes:
        _store: keeps the items.
        _starter: finds runs.
    """

    _store: Store
    _starter: Starter

    async def Items(self, request: pb.ItemsRequest, context: aio.ServicerContext[Message, Message]) -> pb.ItemsResponse:
        if request.page_size < 0:
            raise InvalidInput(f"page_size is {request.page_size}", hint=f"from 1 to {MAX_PAGE}")
        if request.page_token and not (request.page_token.isdecimal() and len(request.page_token) < 10):
            raise InvalidInput(f"page_token {request.page_token!r} is not one that an earlier page gave")
        run = await self._starter.find(request.run_id)
        _fan_out(run.id, run.steps, request.step)
        state = StepState[pb.StepState.Name(request.state).removeprefix("STEP_STATE_")] if request.state else None
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        after = int(request.page_token or 0)
        found = await self._store.items.page(run.id, request.step, state=state, after=after, limit=size + 1)
        page = found[:size]
        positions = [one.position for one in page]
        runs = await self._store.items.engine_runs(run.id, request.step, positions) if positions else {}
        token = str(page[-1].position) if len(found) > size else ""
        return pb.ItemsResponse(items=[to_item(one, runs.get(one.position)) for one in page], next_page_token=token)


def to_item(item: ItemRecord, run: EngineRunRef | None) -> pb.Item:
    message = pb.Item(
        index=item.position - 1,
        state=pb.StepState.Value(f"STEP_STATE_{item.state.name}"),
        attempt=item.attempt,
        message=item.message,
        item_json=convert.to_json(item.item),
        outputs_json=convert.to_json(item.outputs),
        artifacts=[convert.to_artifact(artifact) for artifact in item.artifacts.values()],
    )
    if run is not None:
        message.run.CopyFrom(convert.to_engine_run(run))
    return message


def _fan_out(run: str, steps: list[StepSnapshot], name: str) -> None:
    """Make sure that there are items.

    Raises:
        NotFound: the run has no such step, or it is no fan-out, or has not begun.
    """
    names = [step.name for step in steps if step.items is not None]
    if name in names:
        return
    if any(step.name == name for step in steps):
        raise NotFound(f"step {name!r} of run {run} has no items", hint="only a step with foreach has, once it runs")
    raise NotFound(f"run {run} has no step {name!r}", hint=did_you_mean(name, names, what="steps with items"))
