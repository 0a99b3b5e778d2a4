"""One HTTP request below the framework, where it can be repeated, its answer kept back, and its connection cut."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is: a method, a path with an optional group `run`, and the verb that rules call it by."""

    method: str
    path: str
    verb: str

    def run_of(self, scope: Scope) -> str | None:
        """The run in the path, empty when it names none; None when it is another request."""
        found = re.fullmatch(self.path, scope["path"]) if scope["method"] == self.method else None
        return None if found is None else found.groupdict().get("run") or ""


class _Cycle(Protocol):
    """What uvicorn's `send` is bound to: ASGI itself has no way to close a connection without an answer."""

    transport: asyncio.Transport


_LARGEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A request, with its body where it was read before the application sees it."""

    scope: Scope
    receive: Receive
    send: Send
    body: bytes | None = None

    async def read(self) -> Call:
        """The same with its body; without, where it says that it is larger than any server takes."""
        length = Headers(scope=self.scope).get("content-length", "")
        if length.isdigit() and int(length) > _LARGEST_BYTES:
            return self
        parts: list[bytes] = []
        more = True
        while more:
            message = await self.receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return replace(self, body=b"".join(parts))

    async def run(self, app: ASGIApp, send: Send | None = None) -> None:
        """Let the application answer; a body that was read is given again."""
        body = self.body

        async def receive() -> Message:
            nonlocal body
            if body is None:
                return await self.receive()
            given, body = body, None
            return {"type": "http.request", "body": given, "more_body": False}

        await app(self.scope, receive, send or self.send)

    async def kept(self, app: ASGIApp) -> Response:
        """Let the application answer, and keep the answer."""
        answer, parts = Response(), list[bytes]()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status_code = message["status"]
                answer.raw_headers = list(cast("Sequence[tuple[bytes, bytes]]", message.get("headers", ())))
            else:
                parts.append(message.get("body", b""))

        await self.run(app, keep)
        answer.body = b"".join(parts)
        return answer

    async def answer(self, response: Response) -> None:
        response.headers["content-length"] = str(len(response.body))
        await response(self.scope, self.receive, self.send)

    async def hang_up(self) -> None:
        """Close the connection, whatever was said on it.

        Raises:
            RuntimeError: the server is not uvicorn.
        """
        cycle = cast("_Cycle | None", getattr(self.send, "__self__", None))
        if cycle is None or not hasattr(cycle, "transport"):
            raise RuntimeError("faults that close a connection work on uvicorn only")
        cycle.transport.abort()
        while (await self.receive())["type"] != "http.disconnect":
            pass
