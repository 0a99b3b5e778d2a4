"""A typed facade over the `argo-workflows` package's client: the calls that the adapter makes, as JSON.

Paths are those of the Argo server's `api/openapi-spec/swagger.json`. The package's generated models are left aside:
they refuse nulls and fields that newer servers add, and its watch buffers for ever.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar, cast

from urllib3 import BaseHTTPResponse

from workers.circuit import Circuit
from workers.engines.json_view import children, text
from workers.http import POOL, ApiCaller, ApiRejected, ApiUnavailable, GeneratedClient
from workers.settings import ArgoSettings
from workflows.naming import LABEL_MANAGED, LABEL_RUN, MANAGED_BY
from workflows.values import JsonObject

T = TypeVar("T")

_CHUNK = 65536
_NO_ARCHIVE = (403, 404, 501)  # no right to it, or no such path
_PAGE, _PAGES = 200, 100
_COMPLETED = "workflows.argoproj.io/completed"
_WORKFLOWS = "/api/v1/workflows/{namespace}"
_WORKFLOW = "/api/v1/workflows/{namespace}/{name}"
_EVENTS = "/api/v1/workflow-events/{namespace}"

OURS = f"{LABEL_MANAGED}={MANAGED_BY}"
"""Label selector of every workflow that this project submitted."""

_SUMMARY = ("metadata.name", "metadata.uid", "status.phase")
WATCH_FIELDS = ",".join(("result.type", *(f"result.object.{field}" for field in _SUMMARY)))
LIST_FIELDS = ",".join(("metadata", *(f"items.{field}" for field in _SUMMARY)))


class ArgoClient:
    """Calls to one Argo server, in one namespace.

    All methods raise `workers.http.ApiUnavailable` or `workers.http.ApiRejected`.
    """

    def __init__(self, engine: str, settings: ArgoSettings) -> None:
        self._settings = settings
        self._caller = ApiCaller(engine, *_generated(settings), settings)

    def _at(self, name: str) -> dict[str, str]:
        return {"namespace": self._settings.namespace, "name": name}

    async def create(self, workflow: JsonObject, *, send_by: float | None = None, dry_run: bool = False) -> JsonObject:
        """POST a Workflow; 409 when the name is taken, and for some quota refusals too.

        Args:
            workflow: the object.
            send_by: see `ApiCaller`.
            dry_run: Kubernetes itself is asked with `dryRun=All`, with the caller's rights, its quotas and webhooks
                (`CreateServerDryRun`); `createOptions.dryRun` would end in the Argo server, which asks nobody.
        """
        body: JsonObject = {"workflow": workflow}
        if dry_run:
            body["serverDryRun"] = True
        return await self._caller.call("POST", _WORKFLOWS, where=self._at(""), body=body, send_by=send_by)

    async def get(self, name: str, *, fields: str = "") -> JsonObject | None:
        """Read a Workflow by name; the server itself falls back to the archive. None when there is none."""
        return await self._caller.find(_WORKFLOW, where=self._at(name), query={"fields": fields} if fields else None)

    async def archived(self, uid: str) -> JsonObject | None:
        """Read a Workflow from the archive by uid. None when it, or an archive, is not there.

        A server without an archive answers 500 "getting archived workflows not supported".
        """
        path = "/api/v1/archived-workflows/{uid}"
        try:
            return await self._caller.find(path, where={"uid": uid}, query={"namespace": self._settings.namespace})
        except ApiUnavailable as error:
            if "not supported" in error.message:
                return None
            raise

    async def archived_run(self, key_hash: str) -> list[JsonObject]:
        """Archived Workflows that carry the hash of a run key, oldest first, with metadata and phase.

        None without an archive: such a server answers an empty list (`nullWorkflowArchive`) or refuses.
        """
        query = {
            "listOptions.labelSelector": f"{OURS},{LABEL_RUN}={key_hash}",
            "listOptions.fieldSelector": f"metadata.namespace={self._settings.namespace}",
        }
        try:
            found = children(await self._caller.call("GET", "/api/v1/archived-workflows", query=query), "items")
        except ApiRejected as error:
            if error.status in _NO_ARCHIVE:
                return []
            raise
        except ApiUnavailable as error:
            if "not supported" in error.message:
                return []
            raise
        return sorted(found, key=lambda workflow: text(workflow, "metadata", "creationTimestamp"))

    async def list_ours(self) -> tuple[list[JsonObject], str]:
        """Summaries (name, uid, phase) of our workflows, and the resourceVersion to watch from."""
        query = {"listOptions.labelSelector": OURS, "fields": LIST_FIELDS}
        found = await self._caller.call("GET", _WORKFLOWS, where=self._at(""), query=query)
        return children(found, "items"), text(found, "metadata", "resourceVersion")

    async def list_unended(self) -> AsyncIterator[JsonObject]:
        """Our workflows that are not labelled as completed, page by page, with metadata and phase.

        The label keeps what has ended, the archive above all, out of the list; the controller sets it at the end, and a
        retry takes it away (`workflow/controller/operator.go`, `workflow/util/util.go`).
        """
        query: dict[str, str | int] = {
            "listOptions.labelSelector": f"{OURS},{_COMPLETED}!=true",
            "listOptions.limit": _PAGE,
            "fields": "metadata,items.metadata,items.status.phase",
        }
        for _ in range(_PAGES):
            page = await self._caller.call("GET", _WORKFLOWS, where=self._at(""), query=query)
            for item in children(page, "items"):
                yield item
            if not (token := text(page, "metadata", "continue")):
                return
            query["listOptions.continue"] = token

    async def list_run(self, key_hash: str) -> list[JsonObject]:
        """Workflows that carry the hash of a run key, with metadata and phase."""
        query = {
            "listOptions.labelSelector": f"{OURS},{LABEL_RUN}={key_hash}",
            "fields": "items.metadata,items.spec.shutdown,items.status.phase",
        }
        return children(await self._caller.call("GET", _WORKFLOWS, where=self._at(""), query=query), "items")

    async def stop(self, name: str) -> None:
        """End a Workflow; its exit handlers run. It then ends as if terminated, `spec.shutdown` says Stop."""
        await self._caller.call("PUT", _WORKFLOW + "/stop", where=self._at(name), body=self._verb(name))

    async def terminate(self, name: str) -> None:
        """End a Workflow without its exit handlers."""
        await self._caller.call("PUT", _WORKFLOW + "/terminate", where=self._at(name), body=self._verb(name))

    async def retry(self, name: str, *, send_by: float | None = None) -> None:
        """Retry a failed Workflow in place. Not idempotent: the caller fences it."""
        path = _WORKFLOW + "/retry"
        await self._caller.call("PUT", path, where=self._at(name), body=self._verb(name), send_by=send_by)

    async def template(self, name: str, *, cluster: bool) -> JsonObject | None:
        """Read a WorkflowTemplate or ClusterWorkflowTemplate."""
        if cluster:
            return await self._caller.find("/api/v1/cluster-workflow-templates/{name}", where=self._at(name))
        return await self._caller.find("/api/v1/workflow-templates/{namespace}/{name}", where=self._at(name))

    async def cron_workflow(self, name: str) -> JsonObject | None:
        """Read a CronWorkflow."""
        return await self._caller.find("/api/v1/cron-workflows/{namespace}/{name}", where=self._at(name))

    async def can_list_templates(self) -> None:
        """Ask for one WorkflowTemplate, to see whether it is allowed."""
        path = "/api/v1/workflow-templates/{namespace}"
        await self._caller.call("GET", path, where=self._at(""), query={"listOptions.limit": 1})

    async def managed_namespace(self) -> str:
        """The only namespace that the server manages; empty when it manages all."""
        return text(await self._caller.call("GET", "/api/v1/info"), "managedNamespace")

    async def version(self) -> str:
        """The server's version."""
        return text(await self._caller.call("GET", "/api/v1/version"), "version")

    def open_watch(self, resource_version: str) -> BaseHTTPResponse:
        """Open the stream of changes to our workflows. Blocking; the caller reads it in a thread of its own.

        Keepalive comments every 15 s come only with exactly this `Accept`.
        """
        query = {"listOptions.labelSelector": OURS, "fields": WATCH_FIELDS}
        if resource_version:
            query["listOptions.resourceVersion"] = resource_version
        return self._caller.open(
            "GET",
            _EVENTS,
            where=self._at(""),
            query=query,
            accept="text/event-stream",
            timeout=self._settings.watch_timeout,
        )

    def open_logs(self, name: str, *, follow: bool) -> BaseHTTPResponse:
        """Open the stream of log lines of a Workflow's main containers. Blocking.

        While following, the server says nothing as long as the pods do, so there is no read time-out to speak of.
        """
        return self._caller.open(
            "GET",
            _WORKFLOW + "/log",
            where=self._at(name),
            query={"logOptions.container": "main", "logOptions.follow": follow},
            timeout=24 * 3600.0 if follow else None,
        )

    def tail(self, name: str, pod: str, lines: int, timeout: float) -> list[str]:
        """The last lines of a pod's main container, as far as they come within `timeout` seconds. Blocking."""
        deadline = time.monotonic() + timeout
        response = self._caller.open(
            "GET",
            _WORKFLOW + "/log",
            where=self._at(name),
            query={"podName": pod, "logOptions.container": "main", "logOptions.tailLines": lines},
            timeout=timeout,
        )
        found: deque[str] = deque(maxlen=lines)
        try:
            for data in sse_data(response):
                value = cast("JsonObject", json.loads(data))
                if "result" in value:
                    found.append(text(value, "result", "content"))
                if time.monotonic() > deadline:
                    break
        finally:
            response.close()
        return list(found)

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in this engine's threads."""
        return await self._caller.run(work)

    @property
    def circuit(self) -> Circuit:
        return self._caller.circuit

    def close(self) -> None:
        self._caller.close()

    def _verb(self, name: str) -> JsonObject:
        return {"name": name, "namespace": self._settings.namespace}


def sse_data(response: BaseHTTPResponse) -> Iterator[str]:
    """The data of server-sent events, or the lines of NDJSON when the server chose that."""
    buffer = b""
    while chunk := response.read1(_CHUNK):
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            content = line.strip()
            if content.startswith(b"data:"):
                content = content[5:].strip()
            elif content.startswith((b":", b"event:", b"id:", b"retry:")):
                continue
            if content:
                yield content.decode(errors="replace")


def _generated(settings: ArgoSettings) -> tuple[GeneratedClient, type[Exception]]:
    import argo_workflows

    configuration = argo_workflows.Configuration(host=settings.url.rstrip("/"), discard_unknown_keys=True)
    # What to repeat is decided above, where it is known what is safe; urllib3's own retries are switched off.
    configuration.retries = False  # pyright: ignore[reportAttributeAccessIssue] -- generated code says None
    configuration.connection_pool_maxsize = POOL
    client = argo_workflows.ApiClient(configuration)
    return cast("GeneratedClient", client), argo_workflows.ApiException
