"""Routes of experiments (`/apis/v2beta1/experiments`; the real server's experiment_server.go)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, requests, views
from meta.sandbox.kfp.errors import doing
from meta.sandbox.kfp.services import services


def routes() -> list[Route]:
    base = "/apis/v2beta1/experiments"
    return [
        Route(base, create, methods=["POST"]),
        Route(base, list_all, methods=["GET"]),
        Route(f"{base}/{{experiment_id}}:archive", archive, methods=["POST"]),
        Route(f"{base}/{{experiment_id}}:unarchive", unarchive, methods=["POST"]),
        Route(f"{base}/{{experiment_id}}", get, methods=["GET"]),
        Route(f"{base}/{{experiment_id}}", delete, methods=["DELETE"]),
    ]


def _id(request: Request) -> str:
    return str(request.path_params["experiment_id"])


async def create(request: Request) -> Response:
    body = await requests.read(request, requests.ExperimentBody)
    with doing("Failed to create a experiment"):
        row = services(request).catalog.create_experiment(
            body.display_name or "", body.description or "", body.namespace or ""
        )
    return JSONResponse(views.experiment(row))


async def list_all(request: Request) -> Response:
    """All experiments; `namespace` is taken and means nothing to a server for one user, as on the real one."""
    with doing("Failed to create list options"):
        page = listing.list_page(services(request).database, listing.EXPERIMENTS, request.query_params)
    return JSONResponse(views.page("experiments", [views.experiment(row) for row in page.rows], page))


async def get(request: Request) -> Response:
    with doing("Failed to fetch experiment"):
        return JSONResponse(views.experiment(services(request).catalog.experiment(_id(request))))


async def archive(request: Request) -> Response:
    services(request).catalog.archive_experiment(_id(request))
    return JSONResponse({})


async def unarchive(request: Request) -> Response:
    services(request).catalog.unarchive_experiment(_id(request))
    return JSONResponse({})


async def delete(request: Request) -> Response:
    with doing("Failed to delete experiment"):
        services(request).catalog.delete_experiment(_id(request))
    return JSONResponse({})
