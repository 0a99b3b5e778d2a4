"""A stub of the KFP API server's REST API (v2beta1): runs, experiments, pipelines, and the 3.x tasks.

    async with KfpStub(duration=0.0) as stub:
        settings = KfpSettings(url=stub.url)

It shows outputs as 3.x servers do, in `/runs/{id}/tasks`; with `rest_outputs=False` that path is missing, as in 2.x.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.stubs.creates import CreateScript
from tests.stubs.server import ServedApp, ServerTls
from workers.engines.json_view import children, text, texts
from workflows.values import JsonObject, JsonValue

Handler = Callable[[Request], Coroutine[None, None, Response]]

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
NOT_YET = "1970-01-01T00:00:00Z"


@dataclass(slots=True)
class KfpFaults:
    """How many of the next requests go wrong, and how.

    Attributes:
        lost_creates: the run is created, the answer never comes.
        refused_creates: nothing is created, the answer never comes.
        broken_creates: the server cannot make a run's manifest, and says so as it does: by an internal error.
        broken_because: the reason that it adds.
        doubled_creates: two runs are created, as when a proxy sends a request twice; the answer is the second.
        bursts: any request is answered `burst_status`, 503 unless told otherwise.
        retry_after: the seconds in the `Retry-After` of these answers; empty: none.
        late: seconds until a new run shows in lists (the server makes the Argo Workflow first).
        unfilterable: a filter on finished_at is answered 400.
        lost_retries: the retry takes effect, the answer is 500.
        refused_retries: the server cannot retry the run, and says so as it does: by an internal error.
        hang: seconds until a lost answer's connection is given up.
    """

    lost_creates: int = 0
    refused_creates: int = 0
    broken_creates: int = 0
    broken_because: str = ""
    doubled_creates: int = 0
    bursts: int = 0
    burst_status: int = 503
    retry_after: str = ""
    late: float = 0.0
    unfilterable: bool = False
    lost_retries: int = 0
    refused_retries: int = 0
    hang: float = 6.0


class KfpStub:
    """A server whose runs end after `duration` seconds, or by `finish` when that is None.

    Attributes:
        plans: states of the consecutive tries of a run, by its display name; SUCCEEDED without a plan.
        tasks: makes the 3.x tasks of a run; may be replaced.
        ending: seconds from a terminate request to the end.
        ends_as: the state after a terminate; the real server says FAILED or CANCELED.
        creates: what becomes of single creates, by the run's display name.
        requests: how often each route was asked.
    """

    def __init__(
        self, *, duration: float | None = 0.0, rest_outputs: bool = True, tls: ServerTls | None = None
    ) -> None:
        self.duration = duration
        self.rest_outputs = rest_outputs
        self.ending = 0.0
        self.ends_as = "FAILED"
        self.faults = KfpFaults()
        self.plans: dict[str, list[str]] = {}
        self.creates = CreateScript()
        self.tasks: Callable[[JsonObject], list[JsonObject]] = lambda run: []
        self.runs: dict[str, JsonObject] = {}
        self.experiments: dict[str, JsonObject] = {}
        self.pipelines: dict[str, tuple[JsonObject, list[JsonObject]]] = {}
        self.artifacts: dict[str, JsonObject] = {}
        self.version = "2.17.0"
        self.multi_user = False
        self.may_create = True
        self.headers: list[dict[str, str]] = []
        self.requests: Counter[str] = Counter()
        self._visible: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._served = ServedApp(self._app(), tls=tls)

    @property
    def url(self) -> str:
        return self._served.url

    async def __aenter__(self) -> KfpStub:
        await self._served.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._served.stop()

    # what tests do

    def finish(self, run_id: str, state: str = "SUCCEEDED", error: str = "") -> None:
        """End a running run; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish, run_id, state, error)

    def land(self, name: str) -> None:
        """Carry out the creates of a name that are held back; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.creates.land, name)

    def state(self, run_id: str) -> str:
        return text(self.runs[run_id], "state")

    def add_run(self, run: JsonObject) -> str:
        """Put a run beside the others, as a second create would."""
        return text(self._make(run), "run_id")

    def upload(self, name: str, spec: JsonObject, version: str = "v1") -> None:
        """Upload a pipeline with one version."""
        pipeline_id = str(uuid.uuid4())
        made: JsonObject = {"pipeline_id": pipeline_id, "display_name": name, "created_at": now()}
        row: JsonObject = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": version,
            "created_at": now(),
            "pipeline_spec": spec,
        }
        self.pipelines[pipeline_id] = (made, [row])

    # the API

    def _app(self) -> Starlette:
        base = "/apis/v2beta1"
        return Starlette(
            routes=[
                Route(base + "/healthz", self._route("health", self._health)),
                Route(base + "/runs", self._route("create", self._create), methods=["POST"]),
                Route(base + "/runs", self._route("list", self._list)),
                Route(base + "/runs/{run_id}:terminate", self._route("terminate", self._terminate), methods=["POST"]),
                Route(base + "/runs/{run_id}:retry", self._route("retry", self._retry), methods=["POST"]),
                Route(base + "/runs/{run_id}/tasks", self._route("tasks", self._tasks)),
                Route(base + "/runs/{run_id}", self._route("get", self._get)),
                Route(base + "/artifacts/{artifact_id}", self._route("artifact", self._artifact)),
                Route(base + "/experiments", self._route("experiments", self._list_experiments)),
                Route(base + "/experiments", self._route("experiment", self._experiment), methods=["POST"]),
                Route(base + "/pipelines", self._route("pipelines", self._list_pipelines)),
                Route(base + "/pipelines/{pipeline_id}/versions", self._route("versions", self._versions)),
                Route(base + "/pipelines/{pipeline_id}/versions/{version_id}", self._route("version", self._version)),
            ]
        )

    def _route(self, name: str, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            self._loop = asyncio.get_running_loop()
            self.requests[name] += 1
            self.headers.append(dict(request.headers))
            if self.faults.bursts > 0:
                self.faults.bursts -= 1
                headers = {"Retry-After": self.faults.retry_after} if self.faults.retry_after else None
                return Response("upstream connect error", status_code=self.faults.burst_status, headers=headers)
            return await handler(request)

        return handle

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"multi_user": self.multi_user, "tag_name": self.version})

    async def _create(self, request: Request) -> Response:
        run = cast("JsonObject", await request.json())
        name = text(run, "display_name")
        if (creating := self.creates.next(name)) is not None:
            return await self.creates.follow(
                name, creating, lambda: self._run(text(self._make(run), "run_id")), self.faults.hang
            )
        return await self._create_now(run)

    async def _create_now(self, run: JsonObject) -> Response:
        faults = self.faults
        if faults.refused_creates > 0:
            faults.refused_creates -= 1
            return await self._lost()
        if (refusal := self._refusal(run)) is not None:
            return refusal
        if faults.broken_creates > 0:
            faults.broken_creates -= 1
            what = "InternalServerError: Failed to create a run due to error fetching manifest"
            return _error(500, 13, f"Failed to create a new run: {what}: {faults.broken_because}")
        if faults.doubled_creates > 0:
            faults.doubled_creates -= 1
            self._make(run)
            await asyncio.sleep(0.002)  # the second is later by more than the times' last digit
        made = self._make(run)
        self._visible[text(made, "run_id")] = asyncio.get_running_loop().time() + faults.late
        self._run(text(made, "run_id"))
        if faults.lost_creates > 0:
            faults.lost_creates -= 1
            return await self._lost()
        return JSONResponse(made)

    def _refusal(self, run: JsonObject) -> Response | None:
        if "pipeline_spec" not in run and "pipeline_version_reference" not in run:
            return _error(400, 3, "Failed to create a run due to invalid input: pipeline source is missing")
        if text(run, "experiment_id") not in {text(e, "experiment_id") for e in self.experiments.values()}:
            return _error(404, 5, f"Experiment {text(run, 'experiment_id')} not found")
        if not self.may_create:
            return _error(403, 7, "Failed to create a run due to authorization error: User 'worker' is not authorized")
        if (version := text(run, "pipeline_version_reference", "pipeline_version_id")) and version not in {
            text(row, "pipeline_version_id") for _, rows in self.pipelines.values() for row in rows
        }:
            what = "Failed to create a run due to error fetching manifest: ResourceNotFoundError"
            return _error(500, 13, f"InternalServerError: {what}: PipelineVersion {version} not found")
        return None

    async def _get(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["run_id"])
        return JSONResponse(run) if run else _error(404, 5, f"Run {request.path_params['run_id']} not found")

    async def _list(self, request: Request) -> Response:
        rows = list(self.runs.values())
        moment = asyncio.get_running_loop().time()
        rows = [row for row in rows if self._visible.get(text(row, "run_id"), 0.0) <= moment]
        for predicate in _predicates(request):
            if text(predicate, "key") == "finished_at" and self.faults.unfilterable:
                return _error(400, 3, "Invalid input error: no support for filtering on unrecognized field finished_at")
            rows = [row for row in rows if _passes(row, predicate)]
        return _page(request, "runs", rows)

    async def _terminate(self, request: Request) -> Response:
        run_id = request.path_params["run_id"]
        run = self.runs.get(run_id)
        if run is None:
            return _error(404, 5, f"Run {run_id} not found")
        if text(run, "state") not in ("PENDING", "RUNNING", "PAUSED"):
            return _error(400, 3, f"Failed to terminate a run {run_id}. Row not found")
        run["state"] = "CANCELING"
        self._later(self.ending, lambda: self._finish(run_id, self.ends_as, ""))
        return JSONResponse({})

    async def _retry(self, request: Request) -> Response:
        run_id = request.path_params["run_id"]
        run = self.runs.get(run_id)
        if run is None:
            return _error(404, 5, f"Run {run_id} not found")
        if text(run, "state") not in ("FAILED", "CANCELED"):
            return _error(400, 3, "Workflow must be Failed/Error to retry")
        if self.faults.refused_retries > 0:
            self.faults.refused_retries -= 1
            why = "workflow cannot be retried: Cannot retry workflow with offloaded node status"
            return _error(500, 13, f"Failed to retry run {run_id} as it does not allow retries: {why}")
        run |= {"state": "RUNNING", "finished_at": NOT_YET}
        self._run(run_id)
        if self.faults.lost_retries > 0:
            self.faults.lost_retries -= 1
            return _error(500, 13, "Operation cannot be fulfilled: the object has been modified")
        return JSONResponse({})

    async def _tasks(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["run_id"])
        if run is None or not self.rest_outputs:
            return _error(404, 5, "Not Found")
        return _page(request, "tasks", self.tasks(run))

    async def _artifact(self, request: Request) -> Response:
        found = self.artifacts.get(request.path_params["artifact_id"])
        return JSONResponse(found) if found else _error(404, 5, "Artifact not found")

    async def _list_experiments(self, request: Request) -> Response:
        rows = list(self.experiments.values())
        for predicate in _predicates(request):
            rows = [row for row in rows if _passes(row, predicate)]
        return _page(request, "experiments", rows)

    async def _experiment(self, request: Request) -> Response:
        body = cast("JsonObject", await request.json())
        name = text(body, "display_name")
        if name in self.experiments:
            return _error(409, 6, f"The name {name} already exist. Please specify a new name.")
        self.experiments[name] = {**body, "experiment_id": str(uuid.uuid4()), "created_at": now()}
        return JSONResponse(self.experiments[name])

    async def _list_pipelines(self, request: Request) -> Response:
        return _page(request, "pipelines", [made for made, _ in self.pipelines.values()])

    async def _versions(self, request: Request) -> Response:
        return _page(request, "pipeline_versions", self.pipelines[request.path_params["pipeline_id"]][1])

    async def _version(self, request: Request) -> Response:
        _, versions = self.pipelines[request.path_params["pipeline_id"]]
        wanted = request.path_params["version_id"]
        return JSONResponse(next(v for v in versions if v["pipeline_version_id"] == wanted))

    # its life

    async def _lost(self) -> Response:
        await asyncio.sleep(self.faults.hang)
        return Response(status_code=504)

    def _make(self, given: JsonObject) -> JsonObject:
        run: JsonObject = {
            **given,
            "run_id": str(uuid.uuid4()),
            "state": "RUNNING",
            "created_at": now(),
            "finished_at": NOT_YET,
        }
        self.runs[text(run, "run_id")] = run
        return run

    def _run(self, run_id: str) -> None:
        if self.duration is not None:
            plan = self.plans.get(text(self.runs[run_id], "display_name"))
            state = plan.pop(0) if plan else "SUCCEEDED"
            self._later(self.duration, lambda: self._finish(run_id, state, ""))

    def _later(self, delay: float, work: Callable[[], None]) -> None:
        if delay <= 0:
            work()
        else:
            asyncio.get_running_loop().call_later(delay, work)

    def _finish(self, run_id: str, state: str, error: str) -> None:
        run = self.runs[run_id]
        if text(run, "state") not in ENDED:
            run |= {"state": state, "finished_at": now()}
            if error:
                run["error"] = {"code": 13, "message": error}


def _predicates(request: Request) -> list[JsonObject]:
    return children(cast("JsonObject", json.loads(_query(request).get("filter", "{}"))), "predicates")


def _query(request: Request) -> dict[str, str]:
    """The query of a list call; a page token carries its own, and a filter is not taken beside one."""
    given = dict(request.query_params)
    if not given.get("page_token"):
        return given
    assert "filter" not in given and "sort_by" not in given, "the real server refuses most filters beside a token"
    return given | cast("dict[str, str]", json.loads(given["page_token"]))


def _passes(row: JsonObject, predicate: JsonObject) -> bool:
    value = text(row, text(predicate, "key"))
    if text(predicate, "operation") == "EQUALS":
        return value == text(predicate, "string_value")
    if text(predicate, "operation") == "GREATER_THAN_EQUALS":
        return datetime.fromisoformat(value) >= datetime.fromisoformat(text(predicate, "timestamp_value"))
    if text(predicate, "operation") == "IN":
        return value in texts(predicate, "string_values", "values")
    raise NotImplementedError(predicate)


def _page(request: Request, name: str, rows: list[JsonObject]) -> Response:
    query = _query(request)
    field, _, direction = query.get("sort_by", "created_at").partition(" ")
    ordered = sorted(rows, key=lambda row: text(row, field), reverse=direction == "desc")
    size = int(query.get("page_size", "10"))
    start = int(query.get("start", "0"))
    shown: list[JsonValue] = list(ordered[start : start + size])
    answer: JsonObject = {name: shown, "total_size": len(ordered)}
    if start + size < len(ordered):
        carried = {key: value for key, value in query.items() if key in ("filter", "sort_by")}
        answer["next_page_token"] = json.dumps({**carried, "start": str(start + size)})
    return JSONResponse(answer)


def _error(status: int, code: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "code": code, "message": message, "details": []}, status_code=status)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
