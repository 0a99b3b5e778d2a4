"""A proxy before a nats-server that reads along: what was delivered, what was acknowledged; it can swallow acks.

The client protocol (docs.nats.io, "Client Protocol"): lines of text end in CRLF; PUB, HPUB, MSG and HMSG lines end in
the size of the payload that follows. A message of a consumer has the reply subject on which it is acknowledged, which
says what it is a delivery of (JetStream's "$JS.ACK" subjects, with or without domain and account).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HAS_PAYLOAD = (b"PUB", b"HPUB", b"MSG", b"HMSG")
_ACKS = (b"", b"+ACK")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message, as its reply subject says.

    Attributes:
        sequence: in the stream.
        count: how often the server believes to have delivered it, this time included; it may forget in a crash.
    """

    stream: str
    consumer: str
    sequence: int
    count: int

    @property
    def message(self) -> tuple[str, str, int]:
        """Which message of which consumer."""
        return self.stream, self.consumer, self.sequence

    @classmethod
    def of(cls, subject: str) -> Delivery | None:
        """Read a reply subject; None for any other subject."""
        if not subject.startswith("$JS.ACK."):
            return None
        parts = subject.split(".")
        stream, consumer, count, sequence = parts[2:6] if len(parts) < 11 else parts[4:8]
        return cls(stream, consumer, int(sequence), int(count))


def _pass_all(_: Delivery) -> bool:
    return True


@dataclass
class NatsTap:
    """Passes NATS's protocol on.

    Attributes:
        target: URL of the server.
        lets: asked for each acknowledgement; False: it never reaches the server.
        delivered: deliveries that went through to a client, by message.
        handled: acknowledgements that a client sent, swallowed ones too, by message.
        acknowledged: those that were passed on to the server.
        terminated: messages that a client gave up with +TERM.
    """

    target: str
    lets: Callable[[Delivery], bool] = _pass_all
    delivered: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    handled: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    acknowledged: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    terminated: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    _streams: set[asyncio.StreamWriter] = field(default_factory=set["asyncio.StreamWriter"])

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for stream in self._streams:
            stream.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self.target)
        try:
            there, back = await asyncio.open_connection(where.hostname, where.port)
        except OSError:  # the server is down, so we are
            writer.transport.abort()
            return
        self._streams |= {writer, back}
        for source, to, keep in ((reader, back, self._from_client), (there, writer, self._from_server)):
            task = asyncio.create_task(self._pass(source, to, keep))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, keep: Callable[[list[bytes], bytes], bool]
    ) -> None:
        buffer = bytearray()
        try:
            while data := await source.read(65536):
                buffer += data
                passed = b"".join(whole for words, body, whole in _frames(buffer) if not words or keep(words, body))
                to.write(passed)
                await to.drain()
        except OSError:
            pass
        finally:
            self._streams.discard(to)
            to.transport.abort() if to.transport.is_closing() else to.close()

    def _from_client(self, words: list[bytes], body: bytes) -> bool:
        """Whether the server gets to see it."""
        delivery = Delivery.of(words[1].decode())
        if delivery is None:
            return True
        if body.startswith(b"+TERM"):
            self.terminated[delivery.message] += 1
        if body not in _ACKS:
            return True
        self.handled[delivery.message] += 1
        if not self.lets(delivery):
            return False
        self.acknowledged[delivery.message] += 1
        return True

    def _from_server(self, words: list[bytes], _: bytes) -> bool:
        reply = words[3] if len(words) > (5 if words[0] == b"HMSG" else 4) else b""
        delivery = Delivery.of(reply.decode())
        if delivery is not None:
            self.delivered[delivery.message] += 1
        return True


def _frames(buffer: bytearray) -> Iterator[tuple[list[bytes], bytes, bytes]]:
    """Take whole frames out of a buffer: words of the line and payload where it has one, and all its bytes."""
    while (end := buffer.find(b"\r\n")) >= 0:
        words = bytes(buffer[:end]).split()
        size = 0
        has_payload = bool(words) and words[0].upper() in _HAS_PAYLOAD
        if has_payload:
            size = int(words[-1]) + 2
            if len(buffer) < end + 2 + size:
                return
        whole = bytes(buffer[: end + 2 + size])
        body = whole[end + 2 : -2] if has_payload else b""
        del buffer[: end + 2 + size]
        yield (words if has_payload else []), body, whole


@asynccontextmanager
async def nats_tap(target: str) -> AsyncGenerator[NatsTap]:
    made = NatsTap(target)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
