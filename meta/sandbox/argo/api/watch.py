"""The watch: `/api/v1/workflow-events/{namespace}` (server/workflow, WatchWorkflows)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import cast

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from meta.sandbox.argo.api import framing
from meta.sandbox.argo.api.errors import Code
from meta.sandbox.argo.api.fields import FieldFilter
from meta.sandbox.argo.api.request import Server, namespace_of, query, server_of, whole_number
from meta.sandbox.argo.api.selectors import label_selector, name_selector
from meta.sandbox.argo.state.hub import BehindError, Event, Subscription, TooOldError
from meta.sandbox.argo.state.status import JsonObject

BOOKMARK_S = 60.0  # as an API server, about once a minute
_SLICE = 100  # workflows of the first list that are written at a time


@dataclass(frozen=True)
class _View:
    """What one watch shows of the events, and in which form."""

    namespace: str
    name: str | None
    matches: Callable[[dict[str, str]], bool]
    fields: str
    events: bool

    def frames(self, events: Sequence[Event]) -> bytes:
        return b"".join(
            framing.frame(_encoded(event, shown, self.fields), events=self.events)
            for event in events
            if (shown := self._shown(event)) is not None
        )

    def _shown(self, event: Event) -> str | None:
        """How it shows an event: what enters its selector is ADDED to it, what leaves it is DELETED."""
        if event.namespace != self.namespace or self.name not in (None, event.name):
            return None
        before = event.previous is not None and self.matches(event.previous)
        after = event.type != "DELETED" and self.matches(event.labels)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None

    def bookmark(self, version: int) -> bytes:
        """An object with a resource version and nothing else (Kubernetes, allowWatchBookmarks)."""
        metadata: JsonObject = {"resourceVersion": str(version), "creationTimestamp": None}
        body: JsonObject = {
            "metadata": metadata,
            "spec": {"arguments": {}},
            "status": {"startedAt": None, "finishedAt": None},
        }
        event = Event("ADDED", version, "", "", {}, None, framing.encode(body))
        return framing.frame(_encoded(event, "BOOKMARK", self.fields), events=self.events)

    def error(self, code: Code, message: str) -> bytes:
        return framing.frame(framing.error_chunk(code, message, self.fields), events=self.events)


def _encoded(event: Event, shown: str, fields: str) -> bytes:
    """An event's JSON, filtered; worked out once for all watches that ask for the same."""
    if not fields:
        return b'{"result":{"type":"%b","object":%b}}' % (shown.encode(), event.body)
    found = event.encoded.get((shown, fields))
    if found is None:
        result: JsonObject = {"result": {"type": shown, "object": cast("JsonValue", json.loads(event.body))}}
        found = event.encoded[shown, fields] = framing.encode(FieldFilter(fields).apply(result))
    return found


async def watch(request: Request) -> Response:
    """GET /api/v1/workflow-events/{namespace}; without a resource version, or with 0, it begins with what there is."""
    server, namespace = server_of(request), namespace_of(request, "watch")
    values = query(
        request, "fields", "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.resourceVersion",
        "listOptions.timeoutSeconds", "listOptions.watch", "listOptions.allowWatchBookmarks",
    )  # fmt: skip
    view = _View(
        namespace,
        name_selector(values.get("listOptions.fieldSelector", "")),
        label_selector(values.get("listOptions.labelSelector", "")),
        values.get("fields", ""),
        framing.wants_events(request),
    )
    since = whole_number(values, "listOptions.resourceVersion") or None
    media_type = framing.media_type(events=view.events)
    try:
        subscription = server.store.hub.subscribe(since)
    except TooOldError as error:  # an error before the first event has its status, and the form of an error in a stream
        return Response(view.error(Code.INVALID_ARGUMENT, str(error)), 400, framing.HEADERS, media_type)
    first = _existing(server, namespace) if since is None else []
    if since is None:  # now: what happens while the first ones are sent comes after them
        subscription.resource_version = server.store.resource_version
    loop, seconds = asyncio.get_running_loop(), whole_number(values, "listOptions.timeoutSeconds")
    end = loop.time() + seconds if seconds else inf
    bookmarks = bool(values.get("listOptions.allowWatchBookmarks"))

    async def frames() -> AsyncGenerator[bytes]:
        with subscription:
            for part in _parts(first):
                if data := view.frames(part):
                    yield data
            async for data in _follow(view, subscription, end, bookmarks=bookmarks):
                yield data

    return StreamingResponse(frames(), headers=framing.HEADERS, media_type=media_type)


def _existing(server: Server, namespace: str) -> list[Event]:
    found = sorted(server.store.all(namespace), key=lambda workflow: workflow.metadata.resource_version)
    return [server.store.as_added(workflow) for workflow in found]


def _parts(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    for start in range(0, len(events), _SLICE):
        yield events[start : start + _SLICE]


async def _follow(view: _View, subscription: Subscription, end: float, *, bookmarks: bool) -> AsyncGenerator[bytes]:
    """What happens from now on.

    Args:
        view: what is shown.
        subscription: where the events come from.
        end: the loop's time when the client wants the stream to end; infinite for never.
        bookmarks: whether the client wants them.
    """
    clock = asyncio.get_running_loop().time
    keepalive = clock() + framing.KEEPALIVE_S if view.events else inf
    bookmark = clock() + BOOKMARK_S if bookmarks else inf
    while True:
        if clock() >= end:  # the Kubernetes watch behind the stream ends, which the server takes for an error
            yield view.error(Code.RESOURCE_EXHAUSTED, "EOF")
            return
        if clock() >= keepalive:
            keepalive = clock() + framing.KEEPALIVE_S
            yield framing.KEEPALIVE
        if clock() >= bookmark:
            bookmark = clock() + BOOKMARK_S
            yield view.bookmark(subscription.resource_version)
        due = min(end, keepalive, bookmark)
        try:
            async with asyncio.timeout_at(None if due == inf else due):
                batch = await subscription.read()
        except TimeoutError:
            continue
        except BehindError:  # a reader that does not read: its Kubernetes watch would have been ended too
            yield view.error(Code.RESOURCE_EXHAUSTED, "EOF")
            return
        if not batch:
            return  # the server goes down
        if data := view.frames(batch):
            yield data
