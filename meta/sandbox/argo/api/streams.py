"""Streams: `/api/v1/workflow-events/{namespace}` and logs, as NDJSON or, where asked for, server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.fields import FieldFilter
from meta.sandbox.argo.api.request import Server, namespace_of, query, server_of, whole_number, workflow_of
from meta.sandbox.argo.api.selectors import label_selector, name_selector
from meta.sandbox.argo.pods.logs import read_lines
from meta.sandbox.argo.state.hub import Event, TooOldError
from meta.sandbox.argo.state.names import pod_name
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, NodeType, Phase
from meta.sandbox.argo.state.workflow import Workflow

KEEPALIVE_S = 15.0
_SSE = "text/event-stream"


def _stream(request: Request, results: AsyncIterator[JsonValue]) -> Response:
    """Frame results; only with exactly that Accept header are they events with keepalives."""
    events = request.headers.get("accept") == _SSE

    async def frames() -> AsyncIterator[str]:
        if not events:
            async for result in results:
                yield json.dumps({"result": result}) + "\n"
            return
        async for result in _with_keepalive(results):
            yield ":\n" if result is None else f"data: {json.dumps({'result': result})}\n\n"

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames(), media_type=_SSE if events else "application/json", headers=headers)


async def _with_keepalive(results: AsyncIterator[JsonValue]) -> AsyncIterator[JsonValue | None]:
    """The results, and None whenever there was none for a while."""
    upcoming = asyncio.ensure_future(anext(results, _END))
    try:
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=KEEPALIVE_S)
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


async def watch(request: Request) -> Response:
    """GET /api/v1/workflow-events/{namespace}; without a resource version it begins with what there is."""
    server, namespace = server_of(request), namespace_of(request, "watch")
    values = query(
        request, "fields", "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.resourceVersion",
        "listOptions.timeoutSeconds", "listOptions.watch",
    )  # fmt: skip
    matches = label_selector(values.get("listOptions.labelSelector", ""))
    name = name_selector(values.get("listOptions.fieldSelector", ""))
    since = whole_number(values, "listOptions.resourceVersion") or None
    fields = FieldFilter(values.get("fields", ""), "result.object.")
    timeout = whole_number(values, "listOptions.timeoutSeconds")
    subscription = server.store.hub.subscribe(since)
    try:
        queue = subscription.__enter__()
    except TooOldError as error:
        raise ApiError(Code.INVALID_ARGUMENT, str(error)) from error
    existing = _existing(server, namespace) if since is None else []

    async def results() -> AsyncIterator[JsonValue]:
        try:
            async with asyncio.timeout(timeout):
                for event in existing:
                    if shown := _shown(event, matches, name, namespace):
                        yield {"type": shown, "object": fields.apply(event.body)}
                while (event := await queue.get()) is not None:
                    if shown := _shown(event, matches, name, namespace):
                        yield {"type": shown, "object": fields.apply(event.body)}
        except TimeoutError:
            return  # the client asked for it
        finally:
            subscription.__exit__(None, None, None)

    return _stream(request, results())


def _existing(server: Server, namespace: str) -> list[Event]:
    return [
        Event("ADDED", w.metadata.resource_version, namespace, w.name, dict(w.metadata.labels), None, w.render())
        for w in sorted(server.store.all(namespace), key=lambda w: w.metadata.resource_version)
    ]


def _shown(event: Event, matches: Callable[[dict[str, str]], bool], name: str | None, namespace: str) -> str | None:
    """How a watch shows an event: what enters its selector is ADDED to it, what leaves it is DELETED."""
    if event.namespace != namespace or name not in (None, event.name):
        return None
    before = event.previous is not None and matches(event.previous)
    after = event.type != "DELETED" and matches(event.labels)
    if after:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


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
    return pod_name(workflow.name, node.name, node.template_name or "")
