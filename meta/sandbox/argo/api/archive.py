"""The archive over REST: `/api/v1/archived-workflows...` (pkg/apiclient/workflowarchive)."""

from __future__ import annotations

import re
import uuid
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.listing import Listing
from meta.sandbox.argo.api.request import check_namespace, json_body, query, server_of
from meta.sandbox.argo.api.submit import again
from meta.sandbox.argo.api.verbs import retry_options
from meta.sandbox.argo.operator.rerun import NotRetryableError, rerun
from meta.sandbox.argo.operator.suspend import SuspendError
from meta.sandbox.argo.state.archive import Archive
from meta.sandbox.argo.state.status import now
from meta.sandbox.argo.state.workflow import Workflow

_PATH = "/api/v1/archived-workflows"


def _archive(request: Request, what: str = "getting") -> Archive:
    """The archive; a server without one answers so."""
    archive = server_of(request).store.archive
    if archive is None:
        raise ApiError(Code.INTERNAL, f"{what} archived workflows not supported")
    return archive


def _found(request: Request, what: str = "getting") -> Workflow:
    archive, uid = _archive(request, what), cast("str", request.path_params.get("uid", ""))
    namespace, name = (request.query_params.get(key, "") for key in ("namespace", "name"))
    if not uid and not (namespace and name):
        raise ApiError(Code.INVALID_ARGUMENT, "both name and namespace are required if uid is not specified")
    workflow = archive.get(uid) if uid else archive.latest(namespace, name)
    if workflow is None:
        raise ApiError(Code.NOT_FOUND, "not found")
    return workflow


async def list_all(request: Request) -> Response:
    """GET .../archived-workflows."""
    server = server_of(request)
    check_namespace(request, request.query_params.get("namespace") or server.namespace, "list")
    listing = Listing(request, server.namespace, "namespace", "namePrefix")
    archive = server.store.archive
    page = listing.page(archive.all(server.namespace) if archive is not None else ())
    return JSONResponse({"metadata": page.metadata, "items": [one.show() for one in page.items]})


async def get(request: Request) -> Response:
    """GET .../archived-workflows/{uid}, or without a uid by `namespace` and `name`."""
    query(request, "namespace", "name")
    return JSONResponse(_found(request).render())


async def delete(request: Request) -> Response:
    """DELETE .../archived-workflows/{uid}."""
    workflow = _found(request)
    _archive(request, "deleting").remove(workflow.metadata.uid)
    return JSONResponse({})


async def label_keys(request: Request) -> Response:
    """GET .../archived-workflows-label-keys."""
    archive = server_of(request).store.archive
    keys = archive.label_keys() if archive is not None else []
    return JSONResponse({"items": keys} if keys else {})


async def label_values(request: Request) -> Response:
    """GET .../archived-workflows-label-values?listOptions.labelSelector=<key>."""
    selector = query(request, "listOptions.labelSelector", "namespace").get("listOptions.labelSelector", "")
    parts = [part for part in selector.split(",") if part]
    if len(parts) != 1:
        raise ApiError(Code.INVALID_ARGUMENT, f"only allow 1 labelRequirement, found {len(parts)}")
    if not re.fullmatch(r"[\w./-]+", selector):
        raise ApiError(Code.INVALID_ARGUMENT, f"operation of {selector} is not supported")
    archive = server_of(request).store.archive
    values = archive.label_values(selector) if archive is not None else []
    return JSONResponse({"items": values} if values else {})


async def resubmit(request: Request) -> Response:
    """PUT .../archived-workflows/{uid}/resubmit."""
    body = await json_body(request, frozenset({"uid", "name", "namespace", "memoized", "parameters"}))
    return JSONResponse(again(server_of(request), _found(request), body).render())


async def retry(request: Request) -> Response:
    """PUT .../archived-workflows/{uid}/retry: back to life under its name, with a new uid."""
    allowed = frozenset({"uid", "name", "namespace", "restartSuccessful", "nodeFieldSelector", "parameters"})
    options = retry_options(await json_body(request, allowed))
    server, workflow = server_of(request), _found(request)
    if server.store.get(*workflow.key) is not None:
        message = "Workflow already exists on cluster, use argo retry {name} instead"
        raise ApiError(Code.ALREADY_EXISTS, message)
    try:
        rerun(workflow, now(), options)
    except NotRetryableError as error:
        raise ApiError(Code.INVALID_ARGUMENT, str(error)) from error
    except (SuspendError, ValueError) as error:
        raise ApiError(Code.INTERNAL, str(error)) from error
    workflow.metadata.uid = str(uuid.uuid4())
    server.controller.submit(workflow)
    return JSONResponse(workflow.render())


def routes() -> list[Route]:
    """The archive's routes."""
    one = f"{_PATH}/{{uid}}"
    verbs = (("retry", retry), ("resubmit", resubmit))
    return [
        Route(_PATH, list_all),
        Route(f"{_PATH}/", get),
        Route(one, get),
        Route(one, delete, methods=["DELETE"]),
        Route(f"{_PATH}-label-keys", label_keys),
        Route(f"{_PATH}-label-values", label_values),
        *(Route(f"{one}/{verb}", action, methods=["PUT"]) for verb, action in verbs),
    ]
