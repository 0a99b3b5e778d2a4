"""Workflows over REST: `/api/v1/workflows/...` (pkg/apiclient/workflow/workflow.proto)."""

from __future__ import annotations

from itertools import chain

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.fields import FieldFilter
from meta.sandbox.argo.api.listing import Listing
from meta.sandbox.argo.api.request import (
    json_body,
    namespace_of,
    query,
    server_of,
    workflow_of,
)
from meta.sandbox.argo.api.starting import start
from meta.sandbox.argo.state.archive import live_summary
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.workflow import ARCHIVED, LABEL_ARCHIVING


async def create(request: Request) -> Response:
    """POST /api/v1/workflows/{namespace}."""
    server, namespace = server_of(request), namespace_of(request, "create")
    body = await json_body(request, frozenset({"workflow", "serverDryRun", "namespace", "createOptions"}))
    manifest, options = body.get("workflow"), body.get("createOptions")
    if not isinstance(manifest, dict):
        raise ApiError(Code.INVALID_ARGUMENT, "workflow body not specified")
    dry_run = bool(body.get("serverDryRun")) or (isinstance(options, dict) and bool(options.get("dryRun")))
    return JSONResponse(start(server, namespace, manifest, dry_run=dry_run).render())


async def get(request: Request) -> Response:
    """GET /api/v1/workflows/{namespace}/{name}."""
    values = query(request, "fields", "uid", "getOptions.resourceVersion")
    workflow = workflow_of(request, "get", archived=True, uid=values.get("uid", ""))
    return JSONResponse(FieldFilter(values.get("fields", "")).apply(workflow.render()))


async def list_all(request: Request) -> Response:
    """GET /api/v1/workflows/{namespace}: the live ones, then the archived ones.

    What is archived is shown from there, with less, also while it is still live, as the real server's list does.
    `items` is null when there are none, as Go writes an empty slice.
    """
    server, namespace = server_of(request), namespace_of(request, "list")
    listing = Listing(request, namespace, "fields", "createdAfter", "finishedBefore")
    archive = server.store.archive
    live = [
        live_summary(one) for one in server.store.all(namespace)
        if archive is None or one.metadata.labels.get(LABEL_ARCHIVING) != ARCHIVED
    ]  # fmt: skip
    live.sort(key=lambda one: one.started, reverse=True)
    uids = {one.uid for one in live}
    archived = (one for one in archive.all(namespace) if one.uid not in uids) if archive is not None else ()
    page = listing.page(chain(live, archived))
    metadata: JsonObject = {"resourceVersion": str(server.store.resource_version), **page.metadata}
    answer: JsonObject = {"metadata": metadata, "items": [one.show() for one in page.items] or None}
    return JSONResponse(FieldFilter(listing.values.get("fields", "")).apply(answer))


async def delete(request: Request) -> Response:
    """DELETE /api/v1/workflows/{namespace}/{name}; `deleteOptions` mean nothing where nothing is owned."""
    workflow = workflow_of(request, "delete")
    server_of(request).controller.delete(workflow)
    return JSONResponse({})
