"""Serves a starlette app on a free port, in a thread of its own: blocking clients and the test's loop stay apart."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Serve over TLS. With `client_ca` a client must show a certificate of that CA."""

    cert_file: Path
    key_file: Path
    client_ca: Path | None = None


class ServedApp:
    def __init__(
        self, app: Starlette, *, before_stop: Callable[[], None] | None = None, tls: ServerTls | None = None
    ) -> None:
        # asyncio switches Nagle's algorithm off only for sockets that say they are TCP; with it an answer takes 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._before_stop = before_stop
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="critical",
                access_log=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=60,
                ssl_certfile=tls.cert_file if tls else None,
                ssl_keyfile=tls.key_file if tls else None,
                ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
            )
        )
        self._thread = threading.Thread(target=self._run, name=f"stub-{self.port}", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._socket])
        # A TLS connection that a client dropped waits for its farewell, longer than this loop lives.
        transports: Mapping[int, asyncio.WriteTransport] = getattr(asyncio.get_running_loop(), "_transports")  # noqa: B009
        for transport in list(transports.values()):
            transport.abort()
        await asyncio.sleep(0)

    async def start(self) -> None:
        self._thread.start()
        deadline = asyncio.get_running_loop().time() + 10
        while not self._server.started:
            if asyncio.get_running_loop().time() > deadline or not self._thread.is_alive():
                raise RuntimeError("the stub did not start")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._before_stop is not None:
            self._before_stop()
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join, 10)
        self._socket.close()
