"""The client's call about the items of a fan-out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from meta.client.connection import CALL_TIMEOUT_S, Connection
from meta.client.retry import persist
from meta.client.views import ItemInfo
from workflows.outcome import StepState

_PAGE = 500


class ItemsClient(Connection):
    """Part of `meta.client.MetaClient`."""

    async def items(self, run_id: str, step: str, *, state: StepState | None = None) -> AsyncGenerator[ItemInfo]:
        """What the items of a step with `foreach` came to, in order; those that have ended.

        Args:
            run_id: of the run.
            step: its name.
            state: only those.

        Raises:
            NotFound: no such run, or the step has no items.
        """
        wanted = pb.StepState.Value(f"STEP_STATE_{state.name}" if state is not None else "STEP_STATE_UNSPECIFIED")
        token = ""
        while True:
            request = pb.ItemsRequest(run_id=run_id, step=step, state=wanted, page_size=_PAGE, page_token=token)
            reply: pb.ItemsResponse = await self._page(request)
            for one in reply.items:
                yield _item(one)
            if not (token := reply.next_page_token):
                return

    async def _page(self, request: pb.ItemsRequest) -> pb.ItemsResponse:
        return await persist(lambda: self._stub.Items(request, timeout=CALL_TIMEOUT_S), self._patience_s)


def _item(item: pb.Item) -> ItemInfo:
    return ItemInfo(
        index=item.index,
        state=StepState[pb.StepState.Name(item.state).removeprefix("STEP_STATE_")],
        attempt=item.attempt,
        message=item.message,
        item=json.loads(item.item_json),
        outputs=convert.from_json_object(item.outputs_json, "outputs_json"),
        artifacts={artifact.name: convert.from_artifact(artifact) for artifact in item.artifacts},
        engine_run=item.run.name,
        url=item.run.url,
    )
