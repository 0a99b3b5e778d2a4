"""Faults inside a watch's stream: cut, error, silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from starlette.types import Message

from meta.sandbox.faults.call import Call
from meta.sandbox.faults.kinds import Kind
from meta.sandbox.faults.rules import FaultRule

EVENT_KINDS = frozenset({Kind.WATCH_CUT, Kind.WATCH_ERROR, Kind.WATCH_SILENT})
EventFault = Callable[[str], FaultRule | None]
"""Which fault happens at an event of the run of that name."""


class WatchStream:
    """Takes the place of `send` for one watch; lines are NDJSON or server-sent events.

    Args:
        call: the request.
        fault: asked at each event.
        active: whether there are rules at all: without them nothing is taken apart.
        error: an error inside the stream, in its frame.
    """

    def __init__(
        self, call: Call, fault: EventFault, active: Callable[[], bool], error: Callable[[FaultRule], bytes]
    ) -> None:
        self._call, self._fault, self._active, self._error = call, fault, active, error
        self._rest = b""
        self._silent = self._over = False

    async def send(self, message: Message) -> None:
        if self._over:  # the application notices the closed connection a moment later
            return
        if message["type"] != "http.response.body" or not (self._rest or self._silent or self._active()):
            await self._call.send(message)
            return
        *lines, self._rest = (self._rest + message.get("body", b"")).split(b"\n")
        for line in lines:
            await self._line(line + b"\n")
            if self._over:
                return
        if not message.get("more_body", False):
            self._over = True
            await self._put(self._rest, more=False)

    async def _line(self, line: bytes) -> None:
        text = line.removeprefix(b"data:").strip()
        event = text.startswith(b"{")
        rule = self._fault(_name(text)) if event and not self._silent else None
        if rule is not None and rule.kind is Kind.WATCH_SILENT:
            self._silent = True
        if self._silent:
            if not event and text:  # a keepalive
                await self._put(line)
            return
        if rule is None:
            await self._put(line)
            return
        self._over = True
        if rule.kind is Kind.WATCH_ERROR:
            await self._put(self._error(rule))
            await self._put(b"", more=False)
            return
        if rule.partial:
            await self._put(line[: len(line) // 2])
        await self._call.hang_up()

    async def _put(self, data: bytes, *, more: bool = True) -> None:
        await self._call.send({"type": "http.response.body", "body": data, "more_body": more})


def _name(event: bytes) -> str:
    """The workflow's name; empty where the client's `fields` leave it out."""
    found: object = json.loads(event)
    for key in ("result", "object", "metadata", "name"):
        found = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
