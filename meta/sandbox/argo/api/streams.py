"""Logs as a stream, as NDJSON or, where asked for, server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from meta.sandbox.argo.api import framing
from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.request import Server, query, server_of, whole_number, workflow_of
from meta.sandbox.argo.pods.logs import read_lines
from meta.sandbox.argo.state.names import pod_name
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import Workflow


def _stream(request: Request, results: AsyncIterator[JsonValue]) -> Response:
    events = framing.wants_events(request)

    async def frames() -> AsyncIterator[bytes]:
        async for result in _with_keepalive(results) if events else results:
            yield (
                framing.KEEPALIVE
                if result is None
                else framing.frame(framing.encode({"result": result}), events=events)
            )

    return StreamingResponse(frames(), headers=framing.HEADERS, media_type=framing.media_type(events=events))


async def _with_keepalive(results: AsyncIterator[JsonValue]) -> AsyncIterator[JsonValue | None]:
    """The results, and None whenever there was none for a while."""
    upcoming = asyncio.ensure_future(anext(results, _END))
    try:
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=framing.KEEPALIVE_S)
            if not done:
                yield None
                continue
            result = upcoming.result()
            if result is _END:
                return
            yield result
            upcoming = asyncio.ensure_future(anext(results, _END))
    finally:
        upcoming.cancel()


_END: JsonValue = {"end": "of stream"}  # compared by identity


async def logs(request: Request) -> Response:
    """GET /api/v1/workflows/{namespace}/{name}/log, and the older /{name}/{podName}/log."""
    workflow = workflow_of(request, "get")
    values = query(
        request, "podName", "grep", "logOptions.container", "logOptions.follow", "logOptions.tailLines",
    )  # fmt: skip
    wanted = request.path_params.get("pod") or values.get("podName")
    try:
        grep = re.compile(values.get("grep", ""))
    except re.error as error:
        raise ApiError(Code.INTERNAL, f'failed to compile "{values["grep"]}": {error}') from error
    tail = whole_number(values, "logOptions.tailLines")
    follow = values.get("logOptions.follow") == "true"
    container = values.get("logOptions.container", "main")  # init and wait have nothing to say here
    nodes = [n for n in _pods(workflow) if wanted in (None, _pod_name(workflow, n))]
    server = server_of(request)

    async def results() -> AsyncIterator[JsonValue]:
        for node in nodes:
            entry: JsonObject = {"podName": _pod_name(workflow, node)}
            async for line in _lines(server, workflow, node, container, follow=follow, tail=tail):
                if grep.search(line):
                    yield {"content": line, **entry}

    return _stream(request, results())


async def _lines(
    server: Server, workflow: Workflow, node: NodeStatus, container: str, *, follow: bool, tail: int | None
) -> AsyncIterator[str]:
    live = server.controller.live_log(workflow, node.id, container)
    if follow and live is not None:
        async for line in live.follow():
            yield line
        return
    lines, _ = read_lines(server.controller.log_path(workflow, node.id, container))
    for line in deque(lines, maxlen=tail):
        yield line


def _pods(workflow: Workflow) -> list[NodeStatus]:
    nodes = [n for n in workflow.status.nodes.values() if n.type is NodeType.POD and n.phase is not Phase.SKIPPED]
    return sorted(nodes, key=lambda n: (n.started_at or workflow.metadata.created, n.name))


def _pod_name(workflow: Workflow, node: NodeStatus) -> str:
    return pod_name(workflow.name, node.name, node.template_of_pod)
