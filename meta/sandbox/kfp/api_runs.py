"""Routes of runs (`/apis/v2beta1/runs`; the real server's run_server.go)."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import listing, metadata_store, requests, runs, task_tree, views
from meta.sandbox.kfp.api_tasks import tasks_of
from meta.sandbox.kfp.errors import (
    bad_request,
    doing,
    failed_precondition,
    internally,
    invalid_input,
    not_found,
    unsupported,
)
from meta.sandbox.kfp.objects import ObjectError, split
from meta.sandbox.kfp.pipeline import Json, parse
from meta.sandbox.kfp.runs import RunRecord
from meta.sandbox.kfp.services import Services, services

_NAME_CHARACTERS = 63 - len("-12345")


def routes() -> list[Route]:
    base = "/apis/v2beta1"
    return [
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


async def create_run(request: Request) -> Response:
    server = services(request)
    body = await requests.read(request, requests.RunBody)
    with doing("CreateJob(job.ToV2())Failed to create a run due to conversion error"):
        _check(body)
    with doing("Failed to create a new run"):
        record, note = _record(server, body)
        with server.database.transaction():
            record = server.runs.create(record, note)
            server.catalog.touch_experiment(record.experiment_id)
    server.controller.submit()
    return JSONResponse(_view(server, record))


def _check(body: requests.RunBody) -> None:
    """What is wrong with a request whatever the server knows."""
    if body.plugins_output:
        raise bad_request(
            "plugins_output is server-owned and populated exclusively via plugin lifecycle hooks",
            "plugins_output must not be set by the client",
        )
    sources = [name for name in ("pipeline_spec", "pipeline_version_reference", "pipeline_version_id")
               if getattr(body, name)]  # fmt: skip
    if len(sources) > 1:
        raise requests.malformed(f'error parsing "{sources[1]}", oneof pipeline_source is already set')
    if not body.display_name:
        with internally("Failed to convert a API run detail to its internal representation"):
            raise invalid_input("Run name cannot be empty")
    if body.recurring_run_id:
        raise unsupported("recurring_run_id", "it has no recurring runs")
    if body.plugins_input:
        raise unsupported("plugins_input", "it has no plugins")


def _source(server: Services, body: requests.RunBody) -> tuple[str, str, Json]:
    """Ids of pipeline and version, if it comes from one, and the `pipeline_spec`.

    Whatever is wrong here is an internal error to a client of the real server, even a version that does not exist
    (resource_manager.go, CreateRun).
    """
    reference = body.pipeline_version_reference or requests.VersionReferenceBody()
    pipeline_id, version_id = reference.pipeline_id or "", reference.pipeline_version_id or ""
    with (
        internally("Failed to create a run due to error fetching manifest"),
        doing("Failed to fetch a template due to error retrieving pipeline version"),
    ):
        if version_id:
            with doing(f"Failed to fetch a pipeline version and its manifest from pipeline version {version_id}"):
                row = server.catalog.version(version_id)
            if pipeline_id and pipeline_id != row["pipeline_id"]:
                raise invalid_input(
                    f"Pipeline version {version_id} belongs to pipeline {row['pipeline_id']} (not {pipeline_id})"
                )
        elif pipeline_id:
            with doing(f"Failed to fetch a pipeline version and its manifest from pipeline {pipeline_id}"):
                row = server.catalog.latest_version(pipeline_id)
        else:
            return "", "", body.pipeline_spec or {}
    return row["pipeline_id"], row["id"], json.loads(row["document"])


def _record(server: Services, body: requests.RunBody) -> tuple[RunRecord, str]:
    """The run, and what it should know about what the sandbox does not do for it."""
    experiment_id = body.experiment_id or server.catalog.default_experiment()
    with doing(
        "Failed to create a run due to invalid experimentId and namespace combination: Failed to fetch namespace for "
        f"experiment {experiment_id}: Failed to fetch namespace from experiment {experiment_id}"
    ):
        server.catalog.experiment(experiment_id)
    if body.pipeline_version_id:
        raise unsupported("pipeline_version_id", "it is deprecated and no longer read; use pipeline_version_reference")
    pipeline_id, version_id, document = _source(server, body)
    with internally("Failed to create a run due to error fetching manifest"):
        if not document:
            raise invalid_input("Failed to fetch a template with an empty pipeline spec manifest")
        with doing("Failed to fetch a template with an invalid pipeline spec manifest"):
            pipeline = parse(document, server.images, server.objects)
    config = body.runtime_config or requests.RuntimeConfigBody()
    with doing("Failed to generate the ExecutionSpec"):
        parameters = pipeline.check_parameters(config.parameters or {})
    root = config.pipeline_root or ""
    if root:
        try:
            split(f"{root.rstrip('/')}/x")
        except ObjectError as error:
            raise unsupported("runtime_config.pipeline_root", f'"{root}" must be s3://bucket/prefix') from error
    stem = re.sub(r"[^a-z0-9-]", "-", pipeline.name)[:_NAME_CHARACTERS].strip("-")
    record = RunRecord(
        id=_given_id(body.run_id),
        display_name=body.display_name or "",
        description=body.description or "",
        experiment_id=experiment_id,
        service_account=body.service_account or "pipeline-runner",  # the real server's default; nothing here reads it
        pipeline_id=pipeline_id,
        version_id=version_id,
        document=document,
        parameters=parameters,
        pipeline_root=root,
        workflow=f"{stem}-{secrets.token_hex(3)[:5]}",
    )
    return record, "; ".join(pipeline.platform.notes)


def _given_id(run_id: str | None) -> str:
    """The real server takes a run's id from the client, though its documentation calls it output."""
    if run_id and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", run_id):
        raise unsupported("run_id", "it takes UUIDs only; leave it out and the server makes one")
    return run_id or ""


def _view(server: Services, record: RunRecord, *, full: bool = False) -> Json:
    shown = views.run(record)
    if server.settings.api_version == 2:
        context = server.metadata.context(metadata_store.PIPELINE_RUN, record.id)
        contexts = (server.metadata.pipeline_of(context.id), context.id) if context else (0, 0)
        details = views.run_details(record, server.runs.tasks(record.id), contexts)
        return shown | views.compact({"run_details": details})
    if not full:
        return shown | views.compact({"task_count": task_tree.count(server.runs.tasks(record.id))})
    tasks = [task_tree.view(record, node) for node in tasks_of(server, record)]
    # with the pipeline itself, also of a run of a version: for the driver, which may not ask for the version
    shown.pop("pipeline_version_reference", None)
    return shown | views.compact({"pipeline_spec": record.document, "task_count": len(tasks), "tasks": tasks})


def _full(server: Services, view: str) -> bool:
    """Whether a request asks for a run with its tasks, which 3.x gives on demand; 2.x knows no such parameter."""
    if server.settings.api_version == 2 or view in ("", "DEFAULT", "0"):
        return False
    if view in ("FULL", "1"):
        return True
    raise invalid_input(f'parsing field "view": "{view}" is not valid')


async def list_runs(request: Request) -> Response:
    server = services(request)
    query = request.query_params
    experiment_id = query.get("experiment_id", "")
    with doing("Failed to create list options"):
        page = listing.list_page(
            server.database, listing.RUNS, query, {"experiment_id": [experiment_id]} if experiment_id else {}
        )
    if experiment_id:
        with doing(
            f"Failed to list runs: Failed to list runs due to error fetching namespace for experiment {experiment_id}. "
            f"Try filtering based on namespace: Failed to fetch namespace from experiment {experiment_id}"
        ):
            server.catalog.experiment(experiment_id)
    full = _full(server, query.get("view", ""))
    found = [_view(server, runs.run_of(row), full=full) for row in page.rows]
    return JSONResponse(views.page("runs", found, page))


def _id(request: Request) -> str:
    return str(request.path_params["run_id"])


async def get_run(request: Request) -> Response:
    server = services(request)
    with doing("Failed to get a run"):
        full = _full(server, request.query_params.get("view", ""))
        return JSONResponse(_view(server, server.runs.get(_id(request)), full=full))


def _must_be_there(request: Request, verb: str) -> None:
    with doing(f"Failed to {verb} run {_id(request)} due to error fetching the run"):
        services(request).runs.get(_id(request))


async def terminate_run(request: Request) -> Response:
    with doing("Failed to terminate a run"):
        _must_be_there(request, "terminate")
        services(request).controller.terminate(_id(request))
    return JSONResponse({})


async def retry_run(request: Request) -> Response:
    with doing("Failed to retry a run"):
        _must_be_there(request, "retry")
        services(request).controller.retry(_id(request))
    return JSONResponse({})


async def archive_run(request: Request) -> Response:
    number, store = _id(request), services(request).runs
    with doing(f"Failed to archive a run: Failed to archive run {number} as it failed to be retrieved"):
        record = store.get(number)
    record.storage_state = runs.ARCHIVED
    store.save(record)
    return JSONResponse({})


async def unarchive_run(request: Request) -> Response:
    number, server = _id(request), services(request)
    with doing("Failed to unarchive a run"):
        with doing(f"Failed to unarchive run {number} as it does not exist"):
            record = server.runs.get(number)
        with doing(f"Failed to unarchive run {number} due to experiment fetching error"):
            experiment = server.catalog.experiment(record.experiment_id)
        if experiment["storage_state"] == runs.ARCHIVED:
            raise failed_precondition(
                f"Failed to unarchive run {number} as experiment {record.experiment_id} must be un-archived first",
                "Unarchive the experiment first to allow the run to be restored",
            )
    record.storage_state = runs.AVAILABLE
    server.runs.save(record)
    return JSONResponse({})


async def delete_run(request: Request) -> Response:
    number, server = _id(request), services(request)
    with doing("Failed to delete a run"):
        with doing(f"Failed to delete run {number} as it does not exist"):
            server.runs.get(number)
        await server.controller.delete(number)
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
