"""What the server says of itself, and what it does not have."""

from __future__ import annotations

import platform

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.request import server_of

# The line whose behaviour is followed; the build part says that this is not it.
VERSION = "v4.0.10+sandbox"


async def version(request: Request) -> Response:
    """GET /api/v1/version."""
    del request
    return JSONResponse(
        {
            "version": VERSION,
            "buildDate": "1970-01-01T00:00:00Z",
            "gitCommit": "",
            "gitTag": "",
            "gitTreeState": "sandbox",
            "goVersion": "",
            "compiler": f"python{platform.python_version()}",
            "platform": f"{platform.system().lower()}/{platform.machine()}",
        }
    )


async def info(request: Request) -> Response:
    """GET /api/v1/info."""
    return JSONResponse({"managedNamespace": server_of(request).namespace, "links": [], "modals": {}, "columns": []})


async def user_info(request: Request) -> Response:
    """GET /api/v1/userinfo."""
    del request
    return JSONResponse({})


async def unimplemented(request: Request) -> Response:
    """The rest of the API."""
    raise ApiError(
        Code.UNIMPLEMENTED, f"{request.method} {request.url.path} is not supported by the sandbox; use a real server"
    )
