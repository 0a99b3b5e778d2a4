"""Routes of runs, and the health check (`/apis/v2beta1/...`)."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, metadata_store, requests, runs, views
from meta.sandbox.kfp.errors import ApiError, bad_request, internal, invalid_input, not_found, unsupported
from meta.sandbox.kfp.objects import ObjectError, split
from meta.sandbox.kfp.pipeline import Json, parse
from meta.sandbox.kfp.runs import RunRecord
from meta.sandbox.kfp.services import Services, services

_NAME_CHARACTERS = 63 - len("-12345")


def routes() -> list[Route]:
    base = "/apis/v2beta1"
    return [
        Route(f"{base}/healthz", healthz, methods=["GET"]),
        Route(f"{base}/runs", create_run, methods=["POST"]),
        Route(f"{base}/runs", list_runs, methods=["GET"]),
        Route(f"{base}/runs/{{run_id}}:terminate", terminate_run, methods=["POST"]),
        Route(f"{base}/runs/{{run_id}}:retry", retry_run, methods=["POST"]),
        Route(f"{base}/runs/{{run_id}}:archive", archive_run, methods=["POST"]),
        Route(f"{base}/runs/{{run_id}}:unarchive", unarchive_run, methods=["POST"]),
        Route(f"{base}/runs/{{run_id}}", get_run, methods=["GET"]),
        Route(f"{base}/runs/{{run_id}}", delete_run, methods=["DELETE"]),
        Route("/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log", read_log, methods=["GET"]),
    ]


async def healthz(request: Request) -> Response:
    return JSONResponse(
        {"commit_sha": "unknown", "tag_name": "sandbox", "multi_user": False, "pipeline_store": "database"}
    )


async def create_run(request: Request) -> Response:
    server = services(request)
    body = await requests.read(request, requests.RunBody)
    try:
        record = _record(server, body)
    except ApiError as error:
        raise error.wrap("Failed to create a new run") from error
    with server.database.transaction():
        record = server.runs.create(record)
        server.catalog.touch_experiment(record.experiment_id)
    server.controller.submit()
    return JSONResponse(_view(server, record))


def _record(server: Services, body: requests.RunBody) -> RunRecord:
    if not body.display_name:
        raise internal("Failed to convert a API run detail to its internal representation", "Run name cannot be empty")
    if body.plugins_output:
        raise bad_request(
            "plugins_output is server-owned and populated exclusively via plugin lifecycle hooks",
            "plugins_output must not be set by the client",
        )
    if body.recurring_run_id:
        raise unsupported("recurring_run_id", "it has no recurring runs")
    if body.plugins_input:
        raise unsupported("plugins_input", "it has no plugins")
    reference = body.pipeline_version_reference
    pipeline_id, version_id = "", body.pipeline_version_id or ""
    if reference is not None and (reference.pipeline_id or reference.pipeline_version_id):
        pipeline_id, version_id = reference.pipeline_id or "", reference.pipeline_version_id or version_id
    if body.pipeline_spec and (pipeline_id or version_id):
        raise invalid_input("a run has either pipeline_spec or pipeline_version_reference, not both")
    if body.pipeline_spec:
        document: Json = body.pipeline_spec
    elif pipeline_id or version_id:
        row = (
            server.catalog.version(pipeline_id, version_id)
            if version_id
            else server.catalog.latest_version(pipeline_id)
        )
        pipeline_id, version_id, document = row["pipeline_id"], row["id"], json.loads(row["document"])
    else:
        raise invalid_input("neither pipeline_spec nor pipeline_version_reference is given: there is nothing to run")
    pipeline = parse(document, server.images)
    config = body.runtime_config or requests.RuntimeConfigBody()
    root = config.pipeline_root or ""
    if root:
        try:
            split(f"{root.rstrip('/')}/x")
        except ObjectError as error:
            raise unsupported("runtime_config.pipeline_root", f'"{root}" must be s3://bucket/prefix') from error
    experiment_id = body.experiment_id or server.catalog.default_experiment()
    server.catalog.experiment(experiment_id)
    stem = re.sub(r"[^a-z0-9-]", "-", pipeline.name)[:_NAME_CHARACTERS].strip("-")
    return RunRecord(
        id=_given_id(body.run_id),
        display_name=body.display_name,
        description=body.description or "",
        experiment_id=experiment_id,
        service_account=body.service_account or "pipeline-runner",  # the real server's default; nothing here reads it
        pipeline_id=pipeline_id,
        version_id=version_id,
        document=document,
        parameters=pipeline.check_parameters(config.parameters or {}),
        pipeline_root=root,
        workflow=f"{stem}-{secrets.token_hex(3)[:5]}",
    )


def _given_id(run_id: str | None) -> str:
    """The real server takes a run's id from the client, though its documentation calls it output."""
    if run_id and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", run_id):
        raise unsupported("run_id", "it takes UUIDs only; leave it out and the server makes one")
    return run_id or ""


def _view(server: Services, record: RunRecord) -> Json:
    context = server.metadata.context(metadata_store.PIPELINE_RUN, record.id)
    contexts = (server.metadata.pipeline_of(context.id), context.id) if context else (0, 0)
    return views.run(record, server.runs.tasks(record.id), contexts)


async def list_runs(request: Request) -> Response:
    server = services(request)
    query = request.query_params
    fixed = {"experiment_id": [query["experiment_id"]]} if query.get("experiment_id") else {}
    if fixed:
        server.catalog.experiment(query["experiment_id"])
    try:
        page = listing.list_page(server.database, listing.RUNS, query, fixed)
    except ApiError as error:
        raise error.wrap("Failed to create list options") from error
    found = [_view(server, server.runs.get(row["id"])) for row in page.rows]
    return JSONResponse(
        views.compact({"runs": found, "total_size": page.total_size, "next_page_token": page.next_page_token})
    )


def _id(request: Request) -> str:
    return str(request.path_params["run_id"])


async def get_run(request: Request) -> Response:
    server = services(request)
    try:
        return JSONResponse(_view(server, server.runs.get(_id(request))))
    except ApiError as error:
        raise error.wrap("Failed to get a run") from error


async def terminate_run(request: Request) -> Response:
    try:
        services(request).controller.terminate(_id(request))
    except ApiError as error:
        raise error.wrap("Failed to terminate a run") from error
    return JSONResponse({})


async def retry_run(request: Request) -> Response:
    try:
        services(request).controller.retry(_id(request))
    except ApiError as error:
        raise error.wrap("Failed to retry a run") from error
    return JSONResponse({})


async def archive_run(request: Request) -> Response:
    return _archive(request, runs.ARCHIVED)


async def unarchive_run(request: Request) -> Response:
    return _archive(request, runs.AVAILABLE)


def _archive(request: Request, state: str) -> Response:
    server = services(request)
    record = server.runs.get(_id(request))
    record.storage_state = state
    server.runs.save(record)
    return JSONResponse({})


async def delete_run(request: Request) -> Response:
    try:
        await services(request).controller.delete(_id(request))
    except ApiError as error:
        raise error.wrap("Failed to delete a run") from error
    return JSONResponse({})


async def read_log(request: Request) -> Response:
    """A task's output. The node is the `pod_name` that ML Metadata has for the task."""
    server = services(request)
    record = server.runs.get(_id(request))
    node: Any = request.path_params["node_id"]
    for task in server.runs.tasks(record.id):
        if runs.pod_name(record, task.path) == node:
            log = server.settings.data_dir / "runs" / record.id / "logs" / f"{task.path.replace('/', '.')}.log"
            if log.exists():
                return PlainTextResponse(log.read_text(encoding="utf-8", errors="replace"))
    raise not_found("Log", f"of node {node}")
