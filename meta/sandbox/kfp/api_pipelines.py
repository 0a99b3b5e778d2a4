"""Routes of experiments, pipelines, versions and uploads (`/apis/v2beta1/...`)."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, requests, runs, views
from meta.sandbox.kfp.errors import ApiError, Code, invalid_input, unsupported
from meta.sandbox.kfp.pipeline import Json, parse, read_package
from meta.sandbox.kfp.services import Services, services

_LARGEST_PACKAGE_BYTES = 32 * 1024 * 1024  # common.MaxFileLength


def routes() -> list[Route]:
    base = "/apis/v2beta1"
    return [
        Route(f"{base}/experiments", create_experiment, methods=["POST"]),
        Route(f"{base}/experiments", list_experiments, methods=["GET"]),
        Route(f"{base}/experiments/{{experiment_id}}:archive", archive_experiment, methods=["POST"]),
        Route(f"{base}/experiments/{{experiment_id}}:unarchive", unarchive_experiment, methods=["POST"]),
        Route(f"{base}/experiments/{{experiment_id}}", get_experiment, methods=["GET"]),
        Route(f"{base}/experiments/{{experiment_id}}", delete_experiment, methods=["DELETE"]),
        Route(f"{base}/pipelines/upload", upload, methods=["POST"]),
        Route(f"{base}/pipelines/upload_version", upload_version, methods=["POST"]),
        Route(f"{base}/pipelines", create_pipeline, methods=["POST"]),
        Route(f"{base}/pipelines", list_pipelines, methods=["GET"]),
        Route(f"{base}/pipelines/names/{{name}}", get_pipeline_by_name, methods=["GET"]),
        Route(f"{base}/pipelines/{{pipeline_id}}", get_pipeline, methods=["GET"]),
        Route(f"{base}/pipelines/{{pipeline_id}}", delete_pipeline, methods=["DELETE"]),
        Route(f"{base}/pipelines/{{pipeline_id}}/versions", create_version, methods=["POST"]),
        Route(f"{base}/pipelines/{{pipeline_id}}/versions", list_versions, methods=["GET"]),
        Route(f"{base}/pipelines/{{pipeline_id}}/versions/{{version_id}}", get_version, methods=["GET"]),
        Route(f"{base}/pipelines/{{pipeline_id}}/versions/{{version_id}}", delete_version, methods=["DELETE"]),
    ]


async def create_experiment(request: Request) -> Response:
    server = services(request)
    body = await requests.read(request, requests.ExperimentBody)
    if not body.display_name:
        raise invalid_input("Experiment name is empty. Please specify a valid experiment name")
    row = server.catalog.create_experiment(body.display_name, body.description or "")
    return JSONResponse(views.experiment(row, server.settings.namespace))


async def list_experiments(request: Request) -> Response:
    server = services(request)
    page = listing.list_page(server.database, listing.EXPERIMENTS, request.query_params)
    rows = [views.experiment(row, server.settings.namespace) for row in page.rows]
    return _list("experiments", rows, page)


async def get_experiment(request: Request) -> Response:
    server = services(request)
    row = server.catalog.experiment(request.path_params["experiment_id"])
    return JSONResponse(views.experiment(row, server.settings.namespace))


async def archive_experiment(request: Request) -> Response:
    services(request).catalog.archive_experiment(request.path_params["experiment_id"], runs.ARCHIVED)
    return JSONResponse({})


async def unarchive_experiment(request: Request) -> Response:
    services(request).catalog.archive_experiment(request.path_params["experiment_id"], runs.AVAILABLE)
    return JSONResponse({})


async def delete_experiment(request: Request) -> Response:
    services(request).catalog.delete_experiment(request.path_params["experiment_id"])
    return JSONResponse({})


async def create_pipeline(request: Request) -> Response:
    body = await requests.read(request, requests.PipelineBody)
    name = body.name or body.display_name or ""
    if not name:
        raise invalid_input("pipeline's name cannot be empty")
    row = services(request).catalog.create_pipeline(name, body.display_name or "", body.description or "")
    return JSONResponse(views.pipeline(row))


async def list_pipelines(request: Request) -> Response:
    page = listing.list_page(services(request).database, listing.PIPELINES, request.query_params)
    return _list("pipelines", [views.pipeline(row) for row in page.rows], page)


async def get_pipeline(request: Request) -> Response:
    return JSONResponse(views.pipeline(services(request).catalog.pipeline(request.path_params["pipeline_id"])))


async def get_pipeline_by_name(request: Request) -> Response:
    return JSONResponse(views.pipeline(services(request).catalog.pipeline_by_name(request.path_params["name"])))


async def delete_pipeline(request: Request) -> Response:
    services(request).catalog.delete_pipeline(request.path_params["pipeline_id"])
    return JSONResponse({})


async def create_version(request: Request) -> Response:
    await requests.read(request, requests.VersionBody)
    raise unsupported("package_url", "it fetches nothing by URL; upload the file to pipelines/upload_version")


async def list_versions(request: Request) -> Response:
    fixed = {"pipeline_id": [str(request.path_params["pipeline_id"])]}
    page = listing.list_page(services(request).database, listing.VERSIONS, request.query_params, fixed)
    return _list("pipeline_versions", [views.version(row) for row in page.rows], page)


async def get_version(request: Request) -> Response:
    row = services(request).catalog.version(request.path_params["pipeline_id"], request.path_params["version_id"])
    return JSONResponse(views.version(row))


async def delete_version(request: Request) -> Response:
    services(request).catalog.delete_version(request.path_params["pipeline_id"], request.path_params["version_id"])
    return JSONResponse({})


def _list(name: str, rows: list[Json], page: listing.Page) -> Response:
    return JSONResponse(
        views.compact({name: rows, "total_size": page.total_size, "next_page_token": page.next_page_token})
    )


# -- uploads: plain HTTP handlers on the real server, with errors of their own shape


async def upload(request: Request) -> Response:
    try:
        server = services(request)
        file_name, document = await _package(request, server)
        query = request.query_params
        name = query.get("name") or query.get("display_name") or file_name
        display_name, description = query.get("display_name", ""), query.get("description", "")
        with server.database.transaction():
            row = server.catalog.create_pipeline(name, display_name, description)
            source = query.get("code_source_url", "")
            server.catalog.create_version(
                row["id"], name=name, document=document, display_name=display_name, description=description,
                code_source_url=source,
            )  # fmt: skip
    except ApiError as error:
        return _upload_error(error)
    return JSONResponse(views.pipeline(row))


async def upload_version(request: Request) -> Response:
    try:
        server = services(request)
        file_name, document = await _package(request, server)
        query = request.query_params
        pipeline_id = query.get("pipelineid", "")
        if not pipeline_id:
            raise invalid_input("Failed to create a pipeline version: pipelineid is empty")
        name = query.get("name") or query.get("display_name") or file_name
        row = server.catalog.create_version(
            pipeline_id, name=name, document=document, display_name=query.get("display_name", ""),
            description=query.get("description", ""), code_source_url=query.get("code_source_url", ""),
        )  # fmt: skip
    except ApiError as error:
        return _upload_error(error)
    return JSONResponse(views.version(row))


async def _package(request: Request, server: Services) -> tuple[str, Json]:
    """The uploaded file's name and its pipeline."""
    form = await request.form()
    file = form.get("uploadfile")
    if not isinstance(file, UploadFile):
        raise invalid_input('Failed to read pipeline from file: there is no part "uploadfile"')
    content = await file.read()
    if len(content) > _LARGEST_PACKAGE_BYTES:
        raise invalid_input(f"File size too large. Maximum supported size: {_LARGEST_PACKAGE_BYTES}")
    name = file.filename or "pipeline.yaml"
    document = read_package(_text(name, content))
    parse(document, server.images)
    return name, document


def _text(name: str, content: bytes) -> str:
    """The YAML of a package: a plain file, or the first YAML file of a zip or a tarball."""
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(_first_yaml(archive.namelist()))
        elif name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                member = archive.extractfile(_first_yaml(archive.getnames()))
                content = member.read() if member else b""
        return content.decode()
    except (zipfile.BadZipFile, tarfile.TarError, UnicodeDecodeError, KeyError) as error:
        raise invalid_input(f"Failed to read a pipeline spec file: {name}: {error}") from error


def _first_yaml(names: list[str]) -> str:
    for name in names:
        if PurePosixPath(name).suffix in (".yaml", ".yml"):
            return name
    raise KeyError("there is no YAML file in it")


def _upload_error(error: ApiError) -> Response:
    status = 409 if error.code is Code.ALREADY_EXISTS else 400 if error.code is not Code.INTERNAL else 500
    return JSONResponse({"error_message": error.external, "error_details": error.message}, status)
