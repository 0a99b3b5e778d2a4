"""A proxy before a nats-server that reads along: what was delivered, what was acknowledged; it can lose acks.

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
from enum import Enum, auto
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


class Fate(Enum):
    """What becomes of an acknowledgement.

    LOST never reaches the server, and the client gets no confirmation. FORGOTTEN is confirmed, and the server delivers
    again all the same, as one that crashed before it had written the acknowledgement down: it gets a -NAK instead.
    """

    PASSED = auto()
    LOST = auto()
    FORGOTTEN = auto()


def _pass_all(_: Delivery) -> Fate:
    return Fate.PASSED


def _deliver_all(_: Delivery) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of the protocol that goes together.

    Attributes:
        words: of the line, for one that has a payload; empty for others.
        body: the payload.
        whole: all its bytes.
    """

    words: list[bytes]
    body: bytes
    whole: bytes


@dataclass
class NatsTap:
    """Passes NATS's protocol on.

    Attributes:
        target: URL of the server.
        fate: asked for each acknowledgement.
        deliver: asked for each delivery; False: it is lost on its way to the client.
        delivered: deliveries that went through to a client, by message.
        handled: acknowledgements that a client sent, whatever became of them, by message.
        acknowledged: those that were passed on to the server.
        terminated: messages that a client gave up with +TERM.
    """

    target: str
    fate: Callable[[Delivery], Fate] = _pass_all
    deliver: Callable[[Delivery], bool] = _deliver_all
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
        for source, to, seen in ((reader, back, self._from_client), (there, writer, self._from_server)):
            task = asyncio.create_task(self._pass(source, to, seen))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, seen: Callable[[Frame], bytes]
    ) -> None:
        buffer = bytearray()
        try:
            while data := await source.read(65536):
                buffer += data
                to.write(b"".join(seen(frame) for frame in _frames(buffer)))
                await to.drain()
        except OSError:
            pass
        finally:
            self._streams.discard(to)
            to.transport.abort() if to.transport.is_closing() else to.close()

    def _from_client(self, frame: Frame) -> bytes:
        """What the server gets to see of it."""
        delivery = Delivery.of(frame.words[1].decode()) if frame.words else None
        if delivery is None:
            return frame.whole
        if frame.body.startswith(b"+TERM"):
            self.terminated[delivery.message] += 1
        if frame.body not in _ACKS:
            return frame.whole
        self.handled[delivery.message] += 1
        match self.fate(delivery):
            case Fate.LOST:
                return b""
            case Fate.FORGOTTEN:
                return b" ".join([*frame.words[:-1], b"4"]) + b"\r\n-NAK\r\n"
            case Fate.PASSED:
                self.acknowledged[delivery.message] += 1
                return frame.whole

    def _from_server(self, frame: Frame) -> bytes:
        words = frame.words
        has_reply = len(words) > (5 if words[:1] == [b"HMSG"] else 4)
        delivery = Delivery.of(words[3].decode()) if has_reply else None
        if delivery is not None:
            if not self.deliver(delivery):
                return b""
            self.delivered[delivery.message] += 1
        return frame.whole


def _frames(buffer: bytearray) -> Iterator[Frame]:
    """Take whole frames out of a buffer."""
    while (end := buffer.find(b"\r\n")) >= 0:
        words = bytes(buffer[:end]).split()
        has_payload = bool(words) and words[0].upper() in _HAS_PAYLOAD
        size = end + 2 + (int(words[-1]) + 2 if has_payload else 0)
        if len(buffer) < size:
            return
        whole = bytes(buffer[:size])
        del buffer[:size]
        yield Frame(words if has_payload else [], whole[end + 2 : -2] if has_payload else b"", whole)


@asynccontextmanager
async def nats_tap(target: str) -> AsyncGenerator[NatsTap]:
    made = NatsTap(target)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
