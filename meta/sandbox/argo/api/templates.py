"""WorkflowTemplates, ClusterWorkflowTemplates and CronWorkflows over REST (pkg/apiclient/*/*.proto)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.argo.api.errors import ApiError, Code, not_found
from meta.sandbox.argo.api.request import json_body, namespace_of, query, server_of, whole_number
from meta.sandbox.argo.api.selectors import label_selector, name_selector
from meta.sandbox.argo.api.starting import refusals
from meta.sandbox.argo.manifest.create import create_object
from meta.sandbox.argo.state.objects import AlreadyExistsError, ConflictError, Kind, TemplateObject
from meta.sandbox.argo.state.status import JsonObject

_LIST = (
    "namePattern", "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.limit",
    "listOptions.continue", "listOptions.resourceVersion",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Resource:
    """The calls about one kind of object."""

    kind: Kind
    path: str
    field: str  # of the request's body
    absent: str  # what is said when that field is missing

    def _namespace(self, request: Request, verb: str) -> str:
        return namespace_of(request, verb, self.kind.plural) if self.kind.namespaced else server_of(request).namespace

    def _found(self, request: Request, verb: str, name: str | None = None) -> TemplateObject:
        namespace = self._namespace(request, verb)
        name = name if name is not None else cast("str", request.path_params["name"])
        found = server_of(request).store.objects.get(self.kind, namespace, name)
        if found is None:
            raise not_found(name, self.kind.resource)
        return found

    async def _made(self, request: Request, verb: str) -> tuple[JsonObject, TemplateObject]:
        """The manifest of the body, and the object that it makes."""
        namespace, server = self._namespace(request, verb), server_of(request)
        body = await json_body(request, frozenset({self.field, "name", "namespace", "createOptions"}))
        manifest = body.get(self.field)
        if not isinstance(manifest, dict):
            raise ApiError(Code.INVALID_ARGUMENT, self.absent)
        with refusals():
            finder = server.store.objects.finder(namespace)
            return manifest, create_object(self.kind, manifest, namespace, server.images, finder)

    async def create(self, request: Request) -> Response:
        manifest, made = await self._made(request, "create")
        if cast("JsonObject", manifest["metadata"]).get("resourceVersion"):
            raise ApiError(Code.INTERNAL, "resourceVersion should not be set on objects to be created")
        try:
            server_of(request).store.objects.add(made)
        except AlreadyExistsError as error:
            raise ApiError(Code.ALREADY_EXISTS, str(error)) from error
        return JSONResponse(made.render())

    async def lint(self, request: Request) -> Response:
        manifest, _ = await self._made(request, "create")
        return JSONResponse(manifest)

    async def get(self, request: Request) -> Response:
        query(request, "getOptions.resourceVersion")
        return JSONResponse(self._found(request, "get").render())

    async def list_all(self, request: Request) -> Response:
        """By name; with `namePattern` pages go by resource version, the newest first, as the real server's."""
        server, namespace, values = server_of(request), self._namespace(request, "list"), query(request, *_LIST)
        matches = label_selector(values.get("listOptions.labelSelector", ""))
        name = name_selector(values.get("listOptions.fieldSelector", ""))
        pattern, after = values.get("namePattern", ""), values.get("listOptions.continue", "")
        limit = whole_number(values, "listOptions.limit") or None
        found = [
            o for o in server.store.objects.all(self.kind, namespace)
            if matches(o.metadata.labels) and name in (None, o.metadata.name) and pattern in o.metadata.name
        ]  # fmt: skip
        if pattern:
            found.sort(key=lambda o: -o.metadata.resource_version)
            found = [o for o in found if not after or o.metadata.resource_version < int(after)]
        else:
            found = [o for o in found if o.metadata.name > after]
        page = found[:limit]
        metadata: JsonObject = {"resourceVersion": str(server.store.resource_version)}
        if len(page) < len(found):
            last = page[-1].metadata
            metadata["continue"] = str(last.resource_version) if pattern else last.name
        page.sort(key=lambda o: o.metadata.name)
        return JSONResponse({"metadata": metadata, "items": [o.render() for o in page] or None})

    async def update(self, request: Request) -> Response:
        """The object is named by the body; the name in the path is ignored (it is deprecated)."""
        manifest, made = await self._made(request, "update")
        old = self._found(request, "update", made.metadata.name)
        version = cast("JsonObject", manifest["metadata"]).get("resourceVersion")
        if not version:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                f'{self.kind.resource} "{made.metadata.name}" is invalid: metadata.resourceVersion: '
                "Invalid value: 0x0: must be specified for an update",
            )
        made.status = old.status
        self._replace(request, old, made, str(version))
        return JSONResponse(made.render())

    def _replace(self, request: Request, old: TemplateObject, new: TemplateObject, version: str | None) -> None:
        try:
            server_of(request).store.objects.replace(old, new, version)
        except ConflictError as error:
            raise ApiError(Code.ALREADY_EXISTS, str(error)) from error

    async def delete(self, request: Request) -> Response:
        """`deleteOptions` are ignored, as by the real server; workflows of a CronWorkflow go with it."""
        server, gone = server_of(request), self._found(request, "delete")
        server.store.objects.remove(gone)
        for workflow in server.store.all():
            if any(owner.get("uid") == gone.metadata.uid for owner in workflow.metadata.owner_references):
                server.controller.delete(workflow)
        return JSONResponse({})

    def suspend(self, suspended: bool) -> Callable[[Request], Awaitable[Response]]:
        """The handler that sets a CronWorkflow's `suspend`."""

        async def handler(request: Request) -> Response:
            await json_body(request, frozenset({"name", "namespace"}))
            old = self._found(request, "patch")
            new = TemplateObject(self.kind, old.metadata, {**old.raw_spec, "suspend": suspended}, old.status)
            self._replace(request, old, new, None)
            return JSONResponse(new.render())

        return handler

    def routes(self) -> list[Route]:
        one = f"{self.path}/{{name}}"
        routes = [
            Route(self.path, self.create, methods=["POST"]),
            Route(self.path, self.list_all),
            Route(f"{self.path}/lint", self.lint, methods=["POST"]),
            Route(one, self.get),
            Route(one, self.update, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]
        if self.kind is Kind.CRON_WORKFLOW:
            verbs = (("suspend", True), ("resume", False))
            routes += [Route(f"{one}/{verb}", self.suspend(value), methods=["PUT"]) for verb, value in verbs]
        return routes


_RESOURCES = (
    _Resource(
        Kind.WORKFLOW_TEMPLATE, "/api/v1/workflow-templates/{namespace}", "template",
        "workflow template was not found in the request body",
    ),
    _Resource(
        Kind.CLUSTER_WORKFLOW_TEMPLATE, "/api/v1/cluster-workflow-templates", "template",
        "cluster workflow template was not found in the request body",
    ),
    _Resource(
        Kind.CRON_WORKFLOW, "/api/v1/cron-workflows/{namespace}", "cronWorkflow",
        "cron workflow was not found in the request body",
    ),
)  # fmt: skip


def routes() -> list[Route]:
    """The routes of all three kinds."""
    return [route for resource in _RESOURCES for route in resource.routes()]
