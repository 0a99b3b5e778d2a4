"""A TCP proxy before a server, that breaks off when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """Passes bytes on, and counts them.

    Attributes:
        target: URL of the server.
        sent: bytes from clients to the server.
        port: where it listens, once it does.
    """

    target: str
    sent: int = 0
    port: int = 0
    _limit: int | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    _streams: set[asyncio.StreamWriter] = field(default_factory=set["asyncio.StreamWriter"])
    down: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def break_after(self, count: int) -> None:
        """Drop all connections once so many more bytes were sent, and refuse new ones until `mend`."""
        self._limit = self.sent + count

    async def mend(self) -> None:
        self._limit = None
        self.down.clear()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._break()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _break(self) -> None:
        if self._server is not None:
            self._server.close()
        for stream in self._streams:
            stream.transport.abort()
        self.down.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self.target)
        there, back = await asyncio.open_connection(where.hostname, where.port)
        self._streams |= {writer, back}
        for pair in ((reader, back, True), (there, writer, False)):
            task = asyncio.create_task(self._pass(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        try:
            while data := await reader.read(65536):
                if up:
                    self.sent += len(data)
                    if self._limit is not None and self.sent > self._limit:
                        self._break()
                        return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._streams.discard(writer)
            writer.close()


@asynccontextmanager
async def proxy(target: str) -> AsyncGenerator[Proxy]:
    made = Proxy(target)
    await made.mend()
    try:
        yield made
    finally:
        await made.stop()
