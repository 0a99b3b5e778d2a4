"""Workflows over REST: `/api/v1/workflows/...` (pkg/apiclient/workflow/workflow.proto)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.fields import FieldFilter
from meta.sandbox.argo.api.request import (
    json_body,
    namespace_of,
    query,
    server_of,
    whole_number,
    workflow_of,
)
from meta.sandbox.argo.api.selectors import label_selector, name_selector
from meta.sandbox.argo.api.starting import start
from meta.sandbox.argo.state.status import JsonObject


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
    workflow = workflow_of(request, "get")
    if values.get("uid") not in (None, workflow.metadata.uid):
        raise ApiError(Code.NOT_FOUND, f'workflows.argoproj.io "{workflow.name}" not found')
    return JSONResponse(FieldFilter(values.get("fields", "")).apply(workflow.render()))


async def list_all(request: Request) -> Response:
    """GET /api/v1/workflows/{namespace}; `items` is null when there are none, as Go writes an empty slice."""
    server, namespace = server_of(request), namespace_of(request, "list")
    values = query(
        request, "fields", "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.limit",
        "listOptions.continue", "listOptions.resourceVersion",
    )  # fmt: skip
    matches = label_selector(values.get("listOptions.labelSelector", ""))
    name = name_selector(values.get("listOptions.fieldSelector", ""))
    found = [w for w in server.store.all(namespace) if matches(w.metadata.labels) and name in (None, w.name)]
    found.sort(key=lambda w: (w.metadata.created, w.metadata.resource_version), reverse=True)
    start = whole_number(values, "listOptions.continue") or 0
    limit = whole_number(values, "listOptions.limit") or len(found)
    page = found[start : start + limit]
    metadata: JsonObject = {"resourceVersion": str(server.store.resource_version)}
    if start + limit < len(found):
        metadata["continue"] = str(start + limit)
    answer: JsonObject = {"metadata": metadata, "items": [w.render() for w in page] or None}
    return JSONResponse(FieldFilter(values.get("fields", "")).apply(answer))


async def delete(request: Request) -> Response:
    """DELETE /api/v1/workflows/{namespace}/{name}; `deleteOptions` mean nothing where nothing is owned."""
    workflow = workflow_of(request, "delete")
    server_of(request).controller.delete(workflow)
    return JSONResponse({})
