"""Readers of the sandbox Argo server's watch that cost little: a hundred of them share two cores with the server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

PHASE_ONLY = "result.type,result.object.metadata.name,result.object.status.phase"
LABEL = "bench"
_ENDS = re.compile(b'"(Succeeded|Failed|Error)"')
_COMPLETED = re.compile(b'/completed": ?"true"')


@dataclass
class Seen:
    """When watchers saw workflows end, in seconds of `time.monotonic`.

    Attributes:
        ends: name of a workflow -> when each watcher saw its end.
        bytes: read by all.
    """

    ends: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    bytes: int = 0


class Watcher(asyncio.Protocol):
    """One watch. Odd ones ask for server-sent events, every second pair for the name and phase alone."""

    def __init__(self, host: str, number: int, seen: Seen) -> None:
        self._seen = seen
        self._mine: set[str] = set()
        self._rest = b""
        short = number % 4 >= 2
        self._pattern = _ENDS if short else _COMPLETED
        query = {"listOptions.labelSelector": f"{LABEL}=yes"} | ({"fields": PHASE_ONLY} if short else {})
        accept = "text/event-stream" if number % 2 else "application/json"
        self._request = (
            f"GET /api/v1/workflow-events/argo?{urlencode(query)} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n"
        )
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        self._seen.bytes += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:  # chunk sizes and headers lie between the lines that are wanted
            if self._pattern.search(line) and (start := line.find(b"{")) >= 0:
                self._ended(json.loads(line[start:])["result"]["object"]["metadata"]["name"])

    def _ended(self, name: str) -> None:
        if name not in self._mine:
            self._mine.add(name)
            self._seen.ends.setdefault(name, []).append(time.monotonic())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True


async def connect(url: str, count: int, seen: Seen) -> list[Watcher]:
    """Open that many watches."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    watchers: list[Watcher] = []
    for number in range(count):
        _, watcher = await loop.create_connection(lambda number=number: Watcher(parts.netloc, number, seen), host, port)
        watchers.append(watcher)
    return watchers
