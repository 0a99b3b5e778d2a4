"""Health, authorisation, and the services that this server has not: each of their calls is refused by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp.errors import doing, invalid_input, unsupported
from meta.sandbox.kfp.services import services
from meta.sandbox.support import REFUSED_ROUTE

VERSIONS = {2: "2.17.0+sandbox", 3: "3.0.0+sandbox"}
"""By the line whose behaviour is followed; the build part says that this is not it."""

_ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_MISSING = {
    "recurringruns": "it has no recurring runs; start runs one by one, or on a schedule of a meta-workflow",
    "visualizations": "it makes no visualizations",
    "workflows": "nobody reports Argo Workflows to it; runs are its own processes",
    "scheduledworkflows": "it has no recurring runs",
}


def routes() -> list[Route]:
    missing = [
        Route(f"/apis/v2beta1/{service}{rest}", _refusing(service, why), methods=_ANY, name=REFUSED_ROUTE)
        for service, why in _MISSING.items()
        for rest in ("", "/{rest:path}")
    ]
    return [
        Route("/apis/v2beta1/healthz", healthz, methods=["GET"]),
        Route("/apis/v1beta1/healthz", healthz, methods=["GET"]),
        Route("/apis/v1beta1/auth", authorize, methods=["GET"]),  # the real server registers it for v1beta1 alone
        *missing,
    ]


async def healthz(request: Request) -> Response:
    tag = VERSIONS[services(request).settings.api_version]
    answer = {"commit_sha": "unknown", "tag_name": tag, "multi_user": False}
    if "v2beta1" in request.url.path:
        answer["pipeline_store"] = "database"
    return JSONResponse(answer)


async def authorize(request: Request) -> Response:
    """Whether the caller may: always, on a server for one user, when the question is complete (auth_server.go)."""
    query = request.query_params
    with doing("Authorize request is not valid"):
        if not query.get("namespace"):
            raise invalid_input("Namespace is empty. Please specify a valid namespace")
        if query.get("resources", "UNASSIGNED_RESOURCES") == "UNASSIGNED_RESOURCES":
            raise invalid_input("Resources not specified. Please specify a valid resources")
        if query.get("verb", "UNASSIGNED_VERB") == "UNASSIGNED_VERB":
            raise invalid_input("Verb not specified. Please specify a valid verb")
    return JSONResponse({})


def _refusing(service: str, why: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        raise unsupported(service, why)

    return refuse
