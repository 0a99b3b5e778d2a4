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


async def no_archive(request: Request) -> Response:
    """GET /api/v1/archived-workflows/{uid}: what a server without an archive answers."""
    del request
    raise ApiError(Code.INTERNAL, "getting archived workflows not supported")


async def empty_list(request: Request) -> Response:
    """GET of the archive (a server without one has an empty one)."""
    del request
    return JSONResponse({"metadata": {}, "items": None})


async def unimplemented(request: Request) -> Response:
    """The rest of the API."""
    raise ApiError(
        Code.UNIMPLEMENTED, f"{request.method} {request.url.path} is not supported by the sandbox; use a real server"
    )
