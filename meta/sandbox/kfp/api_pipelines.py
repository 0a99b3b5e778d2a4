"""Routes of pipelines and their versions (`/apis/v2beta1/pipelines`; the real server's pipeline_server.go)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, requests, views
from meta.sandbox.kfp.errors import ApiError, doing, invalid_input, unsupported
from meta.sandbox.kfp.services import services
from meta.sandbox.support import REFUSED_ROUTE

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def routes() -> list[Route]:
    base = "/apis/v2beta1/pipelines"
    versions, version = f"{base}/{{pipeline_id}}/versions", f"{base}/{{pipeline_id}}/versions/{{version_id}}"
    return [
        Route(base, create, methods=["POST"]),
        Route(base, list_all, methods=["GET"]),
        Route(f"{base}/create", create_with_version, methods=["POST"], name=REFUSED_ROUTE),
        Route(f"{base}/names/{{name}}", get_by_name, methods=["GET"]),
        Route(f"{base}/{{pipeline_id}}", get, methods=["GET"]),
        Route(f"{base}/{{pipeline_id}}", update, methods=["PATCH"]),
        Route(f"{base}/{{pipeline_id}}", delete, methods=["DELETE"]),
        Route(versions, create_version, methods=["POST"], name=REFUSED_ROUTE),
        Route(versions, list_versions, methods=["GET"]),
        Route(version, get_version, methods=["GET"]),
        Route(version, update_version, methods=["PATCH"]),
        Route(version, delete_version, methods=["DELETE"]),
    ]


def _pipeline_id(request: Request) -> str:
    return str(request.path_params["pipeline_id"])


def _version_id(request: Request) -> str:
    return str(request.path_params["version_id"])


async def create(request: Request) -> Response:
    body = await requests.read(request, requests.PipelineBody)
    name = body.name or body.display_name or ""
    with doing("Failed to create a pipeline due to server error"):
        row = services(request).catalog.create_pipeline(
            name, body.display_name or "", body.description or "", body.tags
        )
    return JSONResponse(views.pipeline(row))


async def create_with_version(request: Request) -> Response:
    await requests.read(request, requests.PipelineAndVersionBody)
    raise _no_urls("pipeline_version.package_url").wrap("Failed to create a pipeline")


async def list_all(request: Request) -> Response:
    """All pipelines; `namespace` is taken and means nothing to a server for one user, as on the real one."""
    with doing("Failed to list pipelines due invalid list options"):
        page = listing.list_page(services(request).database, listing.PIPELINES, request.query_params)
    return JSONResponse(views.page("pipelines", [views.pipeline(row) for row in page.rows], page))


async def get(request: Request) -> Response:
    number = _pipeline_id(request)
    with doing(f"Failed to get a pipeline {number}. Check error stack"):
        return JSONResponse(views.pipeline(services(request).catalog.pipeline(number)))


async def get_by_name(request: Request) -> Response:
    name = str(request.path_params["name"])
    with doing(f"Failed to get a pipeline with name {name} and namespace . Check error stack."):
        return JSONResponse(views.pipeline(services(request).catalog.pipeline_by_name(name)))


async def update(request: Request) -> Response:
    server, number = services(request), _pipeline_id(request)
    body = await requests.read(request, requests.PipelineBody)
    with doing(f"Failed to update pipeline {number}. Check error stack"):
        server.catalog.pipeline(number)
        server.catalog.update("pipelines", number, body.display_name or "", body.tags)
        return JSONResponse(views.pipeline(server.catalog.pipeline(number)))


async def delete(request: Request) -> Response:
    number = _pipeline_id(request)
    cascade = _boolean("cascade", request.query_params.get("cascade", "false"))
    with doing(f"Failed to delete pipeline {number}. Check error stack"):
        services(request).catalog.delete_pipeline(number, cascade=cascade)
    return JSONResponse({})


def _boolean(field: str, text: str) -> bool:
    """A boolean in a query string, as Go's strconv reads it."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise invalid_input(f'parsing field "{field}": strconv.ParseBool: parsing "{text}": invalid syntax')


async def create_version(request: Request) -> Response:
    body = await requests.read(request, requests.VersionBody)
    if body.package_url is None or not body.package_url.pipeline_url:
        what = "nil" if body.package_url is None else "empty"
        raise invalid_input(f"Failed to create a pipeline version. Package URL is {what}")
    raise _no_urls("package_url")


def _no_urls(field: str) -> ApiError:
    return unsupported(field, "it fetches nothing by URL; send the file to pipelines/upload or upload_version")


async def list_versions(request: Request) -> Response:
    server, number = services(request), _pipeline_id(request)
    with doing("Failed to list pipeline versions due invalid list options"):
        page = listing.list_page(server.database, listing.VERSIONS, request.query_params, {"pipeline_id": [number]})
    with doing(
        f"Failed to list pipeline versions for pipeline {number}: Failed to list pipeline versions due to error "
        f"fetching the namespace for pipeline {number}"
    ):
        server.catalog.pipeline(number)
    return JSONResponse(views.page("pipeline_versions", [views.version(row) for row in page.rows], page))


async def get_version(request: Request) -> Response:
    """A version by its own id; the pipeline's id in the path is not looked at, as on the real server."""
    number = _version_id(request)
    with doing(f"Failed to get a pipeline version {number}"):
        return JSONResponse(views.version(services(request).catalog.version(number)))


async def update_version(request: Request) -> Response:
    server, number = services(request), _version_id(request)
    body = await requests.read(request, requests.VersionBody)
    with doing(f"Failed to update pipeline version {number}. Check error stack"):
        server.catalog.version(number)
        server.catalog.update("versions", number, body.display_name or "", body.tags)
        return JSONResponse(views.version(server.catalog.version(number)))


async def delete_version(request: Request) -> Response:
    number = _version_id(request)
    with doing(
        f"Failed to delete a pipeline version id {number} under pipeline id {_pipeline_id(request)}. Check error stack"
    ):
        services(request).catalog.delete_version(number)
    return JSONResponse({})
