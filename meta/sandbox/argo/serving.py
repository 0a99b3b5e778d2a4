"""uvicorn around the application."""

from __future__ import annotations

import socket
from typing import cast

import uvicorn
from starlette.applications import Starlette

from meta.sandbox.argo.api.request import Server

GRACE_S = 2  # for requests that are being answered; uvicorn takes whole seconds


class ArgoSandboxServer(uvicorn.Server):
    """Ends the watches first, so that going down does not wait for clients to close them."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        """Make a server; port 0 takes a free one."""
        super().__init__(
            uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE_S)
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cast("Server", self._app.state.server).store.hub.close()
        await super().shutdown(sockets)
