"""A stub of the Argo server's REST API: create, get, list, watch (SSE), terminate, retry, archive, log.

    async with ArgoStub(duration=0.0) as stub:
        settings = ArgoSettings(url=stub.url)

Error bodies and the order of things are those of the real server (`server/workflow/workflow_server.go`).
"""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.stubs.argo_faults import ArgoFaults
from tests.stubs.creates import CreateScript
from tests.stubs.fields import project
from tests.stubs.server import ServedApp, ServerTls
from workers.engines.json_view import child, text
from workflows.values import JsonObject, JsonValue

Handler = Callable[[Request], Coroutine[None, None, Response]]

ENDED = ("Succeeded", "Failed", "Error")


class ArgoStub:
    """A server whose workflows end after `duration` seconds, or by `finish` when that is None.

    Attributes:
        plans: phases of the consecutive tries of a workflow, by its name; Succeeded without a plan.
        status: makes the rest of a finished workflow's status (outputs, nodes); may be replaced.
        ending: seconds from a terminate request to the end.
        creates: what becomes of single creates, by the workflow's name.
        stopping: seconds from a stop request to the end, exit handlers included; None: it does not stop.
        requests: how often each route was asked.
        peak: how many workflows were unfinished at once, at most.
        before_watch: called when a watch is asked for, before it is opened.
    """

    def __init__(
        self,
        *,
        duration: float | None = 0.0,
        namespace: str = "argo",
        keepalive: float = 15.0,
        tls: ServerTls | None = None,
    ) -> None:
        self.duration = duration
        self.namespace = namespace
        self.keepalive = keepalive
        self.ending = 0.0
        self.stopping: float | None = 0.0
        self.faults = ArgoFaults()
        self.plans: dict[str, list[str]] = {}
        self.creates = CreateScript()
        self.status: Callable[[JsonObject], JsonObject] = lambda workflow: {}
        self.version = "v3.7.18"
        self.managed_namespace = ""
        self.may_create = True
        self.may_read_templates = True
        self.dry_runs: list[JsonObject] = []
        self.templates: dict[str, JsonObject] = {}
        self.cron_workflows: dict[str, JsonObject] = {}
        self.log_lines: dict[str, list[tuple[str, str]]] = {}
        self.workflows: dict[str, JsonObject] = {}
        self.archive: dict[str, JsonObject] = {}
        self.requests: Counter[str] = Counter()
        self.tokens: list[str] = []
        self.peak = 0
        self.before_watch: Callable[[], None] = lambda: None
        self.headers: list[dict[str, str]] = []
        self.ports: list[int] = []
        self._version = 100
        self._history: list[tuple[int, str, JsonObject]] = []
        self._watches: set[asyncio.Queue[tuple[str, JsonObject] | None]] = set()
        self._open: set[asyncio.Queue[tuple[str, JsonObject] | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._served = ServedApp(self._app(), before_stop=self.cut_watches, tls=tls)

    @property
    def url(self) -> str:
        return self._served.url

    @property
    def watchers(self) -> int:
        return len(self._watches)

    async def __aenter__(self) -> ArgoStub:
        await self._served.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._served.stop()

    # what tests do

    def finish(self, name: str, phase: str = "Succeeded", message: str = "", *, silently: bool = False) -> None:
        """End a running workflow; from any thread. Silently: no event tells of it."""
        self._from_outside(lambda: self._finish(name, phase, message, silently=silently))

    def add_workflow(self, name: str, labels: dict[str, JsonValue]) -> str:
        """Put a running workflow there, before anybody asks; returns its uid."""
        uid = str(uuid.uuid4())
        metadata: JsonObject = {"name": name, "namespace": self.namespace, "uid": uid, "labels": labels}
        status: JsonObject = {"phase": "Running", "startedAt": _now(), "finishedAt": None}
        self._put(name, {"metadata": metadata, "spec": {"entrypoint": "main"}, "status": status}, "ADDED")
        return uid

    def delete(self, name: str, *, silently: bool = False) -> None:
        """Delete a workflow as its time to live does; silently: no event tells of it."""
        self._from_outside(lambda: self._delete(name, silently=silently))

    def land(self, name: str) -> None:
        """Carry out the creates of a name that are held back."""
        self._from_outside(lambda: self.creates.land(name))

    def cut_watches(self) -> None:
        """Close all watch streams, as the server does regularly."""
        self._from_outside(self._cut)

    def send_error(self, message: str = "too old resource version") -> None:
        """Send an error inside the watch streams, which say nothing after it but stay open."""
        self._from_outside(lambda: self._break(message))

    def phase(self, name: str) -> str:
        return text(self.workflows[name], "status", "phase")

    def _from_outside(self, work: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    # the API

    def _app(self) -> Starlette:
        base = "/api/v1/workflows/{namespace}"
        return Starlette(
            routes=[
                Route(base, self._route("create", self._create), methods=["POST"]),
                Route(base, self._route("list", self._list)),
                Route(base + "/{name}", self._route("get", self._get)),
                Route(base + "/{name}/log", self._route("log", self._log)),
                Route(base + "/{name}/stop", self._route("stop", self._stop), methods=["PUT"]),
                Route(base + "/{name}/terminate", self._route("terminate", self._terminate), methods=["PUT"]),
                Route(base + "/{name}/retry", self._route("retry", self._retry), methods=["PUT"]),
                Route("/api/v1/workflow-events/{namespace}", self._route("watch", self._watch)),
                Route("/api/v1/archived-workflows", self._route("list_archived", self._list_archived)),
                Route("/api/v1/archived-workflows/{uid}", self._route("archived", self._archived)),
                Route("/api/v1/workflow-templates/{namespace}/{name}", self._route("template", self._template)),
                Route("/api/v1/cluster-workflow-templates/{name}", self._route("template", self._template)),
                Route("/api/v1/workflow-templates/{namespace}", self._route("templates", self._templates)),
                Route("/api/v1/cron-workflows/{namespace}/{name}", self._route("cron", self._cron)),
                Route("/api/v1/info", self._route("info", self._info)),
                Route("/api/v1/version", self._route("version", self._server_version)),
            ]
        )

    def _route(self, name: str, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            self._loop = asyncio.get_running_loop()
            self.requests[name] += 1
            self.tokens.append(request.headers.get("authorization", ""))
            self.headers.append(dict(request.headers))
            self.ports.append(request.client.port if request.client else 0)
            if self.faults.bursts > 0:
                self.faults.bursts -= 1
                headers = {"Retry-After": self.faults.retry_after} if self.faults.retry_after else None
                return Response("upstream connect error", status_code=self.faults.burst_status, headers=headers)
            namespace = request.path_params.get("namespace", self.namespace)
            if namespace != self.namespace:
                return _error(403, 7, f"workflows.argoproj.io is forbidden in the namespace '{namespace}'")
            return await handler(request)

        return handle

    async def _create(self, request: Request) -> Response:
        body = cast("JsonObject", await request.json())
        workflow = child(body, "workflow")
        if body.get("serverDryRun"):
            self.dry_runs.append(workflow)
            forbidden = 'workflows.argoproj.io is forbidden: User "worker" cannot create resource "workflows"'
            return JSONResponse(workflow) if self.may_create else _error(403, 7, forbidden)
        name = text(workflow, "metadata", "name")
        if (creating := self.creates.next(name)) is not None:
            return await self.creates.follow(name, creating, lambda: self._make(name, workflow), self.faults.hang)
        return await self._create_now(request, workflow)

    async def _create_now(self, request: Request, workflow: JsonObject) -> Response:
        faults = self.faults
        if faults.quota_conflicts > 0:
            faults.quota_conflicts -= 1
            return _error(409, 6, 'workflows.argoproj.io "x" is forbidden: exceeded quota')
        if faults.refused_creates > 0:
            faults.refused_creates -= 1
            return await self._lost(request)
        if not child(workflow, "spec"):
            return _error(400, 3, "spec: Required value: at least one of templates or workflowTemplateRef")
        metadata = child(workflow, "metadata")
        name = text(metadata, "name") or f"{text(metadata, 'generateName')}{uuid.uuid4().hex[:5]}"
        created = self._make(name, workflow)
        if created is None:
            return _error(409, 6, f'workflows.argoproj.io "{name}" already exists')
        if faults.lost_creates > 0:
            faults.lost_creates -= 1
            return await self._lost(request)
        return JSONResponse(created)

    def _make(self, name: str, workflow: JsonObject) -> JsonObject | None:
        """Create a workflow; None when its name is taken."""
        if name in self.workflows:
            return None
        metadata = child(workflow, "metadata")
        metadata |= {
            "name": name,
            "namespace": self.namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": _now(),
        }
        workflow["metadata"] = metadata
        created = copy.deepcopy(workflow)
        workflow["status"] = {"phase": "Running", "startedAt": _now(), "finishedAt": None}
        self._put(name, workflow, "ADDED")
        self.peak = max(self.peak, sum(text(w, "status", "phase") not in ENDED for w in self.workflows.values()))
        self._run(name)
        return created

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        workflow = self.workflows.get(name)
        if workflow is None and self.faults.archive and self.faults.archive_by_name:
            archived = [one for one in self.archive.values() if text(one, "metadata", "name") == name]
            workflow = archived[-1] if archived else None
        if workflow is None:
            return _error(404, 5, f'workflows.argoproj.io "{name}" not found')
        return JSONResponse(project(workflow, request.query_params.get("fields", "")))

    async def _list(self, request: Request) -> Response:
        await asyncio.sleep(self.faults.slow_lists)
        wanted = _selector(request.query_params.get("listOptions.labelSelector", ""))
        items: list[JsonValue] = [w for w in self.workflows.values() if _selected(w, wanted)]
        found: JsonObject = {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        return JSONResponse(project(found, request.query_params.get("fields", "")))

    async def _watch(self, request: Request) -> Response:
        since = request.query_params.get("listOptions.resourceVersion", "")
        self.before_watch()
        if self.faults.stale_watches > 0:
            self.faults.stale_watches -= 1
            return _error(self.faults.stale_status, 3, f"too old resource version: {since}")
        if request.headers.get("accept") != "text/event-stream":
            return _error(406, 3, "the stub watches over server-sent events only")
        wanted = _selector(request.query_params.get("listOptions.labelSelector", ""))
        fields = request.query_params.get("fields", "")
        return StreamingResponse(self._events(since, wanted, fields), media_type="text/event-stream")

    async def _events(self, since: str, wanted: dict[str, str], fields: str) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[tuple[str, JsonObject] | None] = asyncio.Queue()
        if since:
            backlog = [(kind, w) for version, kind, w in self._history if version > int(since)]
        else:
            backlog = [("ADDED", w) for w in self.workflows.values()]
        for event in backlog:
            queue.put_nowait(event)
        self._watches.add(queue)
        self._open.add(queue)
        try:
            yield b":\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), self.keepalive)
                except TimeoutError:
                    yield b":\n\n"
                    continue
                if event is None:
                    return
                kind, found = event
                if kind == "ERROR":
                    yield b"data: " + json.dumps(found).encode() + b"\n\n"
                elif _selected(found, wanted):
                    value: JsonObject = {"result": {"type": kind, "object": found}}
                    yield b"data: " + json.dumps(project(value, fields)).encode() + b"\n\n"
        finally:
            self._watches.discard(queue)
            self._open.discard(queue)

    async def _stop(self, request: Request) -> Response:
        return self._shut_down(request.path_params["name"], "Stop", self.stopping)

    async def _terminate(self, request: Request) -> Response:
        return self._shut_down(request.path_params["name"], "Terminate", self.ending)

    def _shut_down(self, name: str, strategy: str, delay: float | None) -> Response:
        workflow = self.workflows.get(name)
        if workflow is None:
            return _error(404, 5, f'workflows.argoproj.io "{name}" not found')
        if text(workflow, "status", "phase") in ENDED:
            return _error(500, 13, f'cannot shutdown a completed workflow: workflow: "{name}"')
        if self.faults.refused_ends > 0:
            self.faults.refused_ends -= 1
            return _error(403, 7, f'workflows.argoproj.io "{name}" is forbidden: cannot patch resource')
        workflow["spec"] = {**child(workflow, "spec"), "shutdown": strategy}
        if delay is not None:
            self._later(delay, lambda: self._finish(name, "Failed", f"Stopped with strategy '{strategy}'"))
        return JSONResponse(workflow)

    async def _retry(self, request: Request) -> Response:
        name = request.path_params["name"]
        workflow = self.workflows.get(name)
        if workflow is None:
            return _error(404, 5, f'workflows.argoproj.io "{name}" not found')
        if (phase := text(workflow, "status", "phase")) not in ("Failed", "Error"):
            return _error(400, 3, f"Cannot retry a workflow in phase {phase}")
        if self.faults.refused_retries > 0:
            self.faults.refused_retries -= 1
            return _error(400, 3, f"Cannot retry workflow {name}")
        if self.faults.retry_conflicts > 0:
            self.faults.retry_conflicts -= 1
            return _error(409, 10, "Operation cannot be fulfilled: the object has been modified")
        workflow["status"] = {**child(workflow, "status"), "phase": "Running", "finishedAt": None, "message": ""}
        self._put(name, workflow, "MODIFIED")
        self._run(name)
        if self.faults.lost_retries > 0:
            self.faults.lost_retries -= 1
            return await self._lost(request)
        return JSONResponse(workflow)

    async def _archived(self, request: Request) -> Response:
        if not self.faults.archive:
            return _error(500, 13, "getting archived workflows not supported")
        workflow = self.archive.get(request.path_params["uid"])
        return JSONResponse(workflow) if workflow is not None else _error(404, 5, "not found")

    async def _list_archived(self, request: Request) -> Response:
        """A server without an archive lists nothing (`nullWorkflowArchive`)."""
        wanted = _selector(request.query_params.get("listOptions.labelSelector", ""))
        found = [w for w in self.archive.values() if _selected(w, wanted)] if self.faults.archive else []
        shown: list[JsonValue] = [project(w, "metadata,status.phase,status.startedAt,status.finishedAt") for w in found]
        return JSONResponse({"metadata": {}, "items": shown or None})

    async def _template(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self.may_read_templates:
            return _error(403, 7, "workflowtemplates.argoproj.io is forbidden")
        found = self.templates.get(name)
        return JSONResponse(found) if found else _error(404, 5, f'workflowtemplates.argoproj.io "{name}" not found')

    async def _templates(self, request: Request) -> Response:
        items: list[JsonValue] = list(self.templates.values())
        return JSONResponse({"items": items}) if self.may_read_templates else _error(403, 7, "templates are forbidden")

    async def _cron(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self.may_read_templates:
            return _error(403, 7, "cronworkflows.argoproj.io is forbidden")
        found = self.cron_workflows.get(name)
        return JSONResponse(found) if found else _error(404, 5, f'cronworkflows.argoproj.io "{name}" not found')

    async def _info(self, request: Request) -> Response:
        return JSONResponse({"managedNamespace": self.managed_namespace})

    async def _log(self, request: Request) -> Response:
        name = request.path_params["name"]
        follow = request.query_params.get("logOptions.follow") == "true"
        wanted = request.query_params.get("podName", "")
        lines = [(pod, line) for pod, line in self.log_lines.get(name, []) if wanted in ("", pod)]
        if tail := int(request.query_params.get("logOptions.tailLines", "0")):
            lines = lines[-tail:]
        return StreamingResponse(self._lines(name, lines, follow=follow), media_type="application/json")

    async def _lines(self, name: str, lines: list[tuple[str, str]], *, follow: bool) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.faults.silent_logs)
        for pod, line in lines:
            yield json.dumps({"result": {"podName": pod, "content": line}}).encode() + b"\n"
        while follow and self.phase(name) not in ENDED:
            await asyncio.sleep(0.01)

    async def _server_version(self, request: Request) -> Response:
        return JSONResponse({"version": self.version})

    # its life

    async def _lost(self, request: Request) -> Response:
        await asyncio.sleep(self.faults.hang)
        return Response(status_code=504)

    def _run(self, name: str) -> None:
        if self.duration is not None:
            plan = self.plans.get(name)
            phase = plan.pop(0) if plan else "Succeeded"
            message = "" if phase == "Succeeded" else "child failed"
            self._later(self.duration, lambda: self._finish(name, phase, message))

    def _later(self, delay: float, work: Callable[[], None]) -> None:
        if delay <= 0:
            work()
        else:
            asyncio.get_running_loop().call_later(delay, work)

    def _finish(self, name: str, phase: str, message: str, *, silently: bool = False) -> None:
        workflow = self.workflows.get(name)
        if workflow is None or text(workflow, "status", "phase") in ENDED:
            return
        status: JsonObject = {**child(workflow, "status"), "phase": phase, "message": message, "finishedAt": _now()}
        workflow["status"] = {**status, **self.status(workflow)}
        if not silently:
            self._tell("MODIFIED", workflow)
        if self.faults.delete_at_end:
            self._delete(name, silently=False)

    def _delete(self, name: str, *, silently: bool) -> None:
        workflow = self.workflows.pop(name)
        self.archive[text(workflow, "metadata", "uid")] = workflow
        if not silently:
            self._tell("DELETED", workflow)

    def _put(self, name: str, workflow: JsonObject, kind: str) -> None:
        self.workflows[name] = workflow
        self._tell(kind, workflow)

    def _tell(self, kind: str, workflow: JsonObject) -> None:
        self._version += 1
        workflow["metadata"] = {**child(workflow, "metadata"), "resourceVersion": str(self._version)}
        shown = copy.deepcopy(workflow)
        self._history.append((self._version, kind, shown))
        del self._history[:-1000]
        self._broadcast(kind, shown)

    def _broadcast(self, kind: str, value: JsonObject) -> None:
        for queue in list(self._watches):
            queue.put_nowait((kind, value))

    def _break(self, message: str) -> None:
        self._broadcast("ERROR", {"error": {"code": 10, "message": message}})
        self._watches.clear()

    def _cut(self) -> None:
        for queue in list(self._open):
            queue.put_nowait(None)


def _selector(given: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in given.split(",") if pair)
    return {key: value for key, _, value in pairs}


def _selected(workflow: JsonObject, wanted: dict[str, str]) -> bool:
    labels = child(workflow, "metadata", "labels")
    return all((labels.get(key.rstrip("!")) == value) is not key.endswith("!") for key, value in wanted.items())


def _error(status: int, code: int, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status_code=status)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
