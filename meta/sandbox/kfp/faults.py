"""What the Kubeflow Pipelines server adds to `meta.sandbox.faults`: its requests and errors, and faults of its runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import grpc.aio
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from meta.sandbox.faults import EngineName, FaultPlan, FaultRule, Kind
from meta.sandbox.faults.call import Call, Route
from meta.sandbox.faults.ledger import Occasion
from meta.sandbox.faults.middleware import FaultInjector
from meta.sandbox.faults.rules import parse_rules
from meta.sandbox.kfp import runs
from meta.sandbox.kfp.errors import ApiError, internal, invalid_input
from meta.sandbox.kfp.runs import RunRecord, RunStore

MARK = "sandbox-fault:"
"""Begins a line of a run's description that holds rules, apart by semicolons."""

_RUNS = "/apis/v2beta1/runs"
_RUN = f"{_RUNS}/(?P<run>[^/:]+)"


class KfpFaults(FaultInjector):
    """The faults of one server; `attach` gives it what it acts on."""

    engine = EngineName.KFP
    routes = (
        Route("GET", "/apis/v2beta1/healthz", "health"),
        Route("POST", _RUNS, "create"),
        Route("GET", _RUNS, "list"),
        Route("GET", _RUN, "get"),
        Route("DELETE", _RUN, "delete"),
        *(Route("POST", f"{_RUN}:{verb}", verb) for verb in ("terminate", "retry", "archive", "unarchive")),
        Route("GET", "/apis/v1alpha1/runs/(?P<run>[^/]+)/nodes/[^/]+/log", "log"),
        *(Route(method, "/apis/.*", "other") for method in ("GET", "POST", "PUT", "DELETE")),
    )

    def __init__(self, plan: FaultPlan, *, admin: bool = False) -> None:
        super().__init__(plan, admin=admin)
        self._store: RunStore | None = None
        self._late: dict[str, float] = {}
        self._canceled: set[str] = set()
        self._ended: set[tuple[str, int]] = set()

    def attach(self, store: RunStore) -> None:
        """Begin: the server has started."""
        self._store = store
        store.saving = self._saving

    def occasion(self, verb: str, run: str, call: Call) -> Occasion:
        if verb == "create":
            try:
                body: object = json.loads(call.body or b"")
            except ValueError:  # the server says so itself
                return Occasion(verb)
            fields = cast("dict[str, object]", body) if isinstance(body, dict) else {}
            name = fields.get("display_name") or fields.get("displayName") or ""
            return Occasion(verb, str(name), own=_own(str(fields.get("description") or "")))
        if not run or self._store is None:
            return Occasion(verb)
        name, description = self._store.about(run)
        return Occasion(verb, name or run, own=_own(description))

    def refused(self, message: str) -> Response:
        return _response(invalid_input(message))

    def failed(self, rule: FaultRule, run: str) -> Response:
        if rule.kind is not Kind.RETRY_CONFLICT:
            return _response(internal("Failed", rule.message or "driver: bad connection"))
        name = self._store.get(run).workflow if self._store is not None and self._store.about(run)[0] else run
        doing = f"Failed to retry run {run} due to error updating and creating a workflow. Update error: "
        modified = (
            f'Operation cannot be fulfilled on workflows.argoproj.io "{name}": the object has been modified; please '
            "apply your changes to the latest version and try again"
        )
        exists = f'workflows.argoproj.io "{name}" already exists, the server was not able to generate a unique name'
        return _response(internal(doing + modified, f"{exists} for the object").wrap("Failed to retry a run"))

    async def carry_out(self, app: ASGIApp, call: Call, occasion: Occasion, run: str) -> None:
        if occasion.verb == "create":
            await self._create(app, call, occasion)
        elif occasion.verb == "list" and self._late:
            answer = await call.kept(app)
            await call.answer(self._without_late(answer) if answer.status_code == 200 else answer)
        else:
            if self.ledger.first({Kind.CANCELED_AFTER_TERMINATE}, occasion) is not None:
                self._canceled.add(run)
            await call.run(app)

    async def _create(self, app: ASGIApp, call: Call, occasion: Occasion) -> None:
        late = self.ledger.first({Kind.LATE_LIST}, occasion)
        answers = [await call.kept(app)]
        if answers[0].status_code == 200 and self.ledger.first({Kind.SECOND_RUN}, occasion) is not None:
            answers.append(await call.kept(app))
        for answer in answers:
            if late is not None and answer.status_code == 200:
                self._late[json.loads(bytes(answer.body))["run_id"]] = time.monotonic() + late.seconds
        await call.answer(answers[-1])

    def _without_late(self, answer: Response) -> Response:
        self._late = {run: until for run, until in self._late.items() if until > time.monotonic()}
        page = cast("dict[str, Any]", json.loads(bytes(answer.body)))
        listed: list[dict[str, Any]] = page.get("runs", [])
        shown = [run for run in listed if run["run_id"] not in self._late]
        if len(shown) < len(listed):
            page["runs"], page["total_size"] = shown, page["total_size"] - len(listed) + len(shown)
        return JSONResponse({key: value for key, value in page.items() if value not in ([], 0)})

    def _saving(self, run: RunRecord) -> None:
        """A run is about to be written."""
        if run.state not in runs.TERMINAL:
            if run.state != runs.CANCELING:
                self._canceled.discard(run.id)  # a retry, whose end is another
            return
        if run.state == runs.FAILED and run.id in self._canceled:
            run.state = runs.CANCELED
            run.state_history[-1]["state"] = runs.CANCELED
        if (end := (run.id, run.attempt)) in self._ended:
            return
        self._ended.add(end)
        occasion = Occasion("end", run.display_name, own=_own(run.description))
        if self._store is not None and (rule := self.ledger.first({Kind.RECORD_GONE}, occasion)) is not None:
            asyncio.get_running_loop().call_later(rule.seconds, self._store.delete, run.id)

    def interceptor(self) -> MetadataFaults:
        """For the ML Metadata server."""
        return MetadataFaults(self)


class MetadataFaults(grpc.aio.ServerInterceptor):
    """Answers UNAVAILABLE in place of ML Metadata."""

    def __init__(self, faults: KfpFaults) -> None:
        self._faults = faults

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = str(handler_call_details.method).rpartition("/")[2]
        if self._faults.ledger.first({Kind.METADATA_UNAVAILABLE}, Occasion("metadata", method)) is None:
            return await continuation(handler_call_details)

        async def refuse(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection refused")

        return cast("object", grpc.unary_unary_rpc_method_handler(refuse))


def _own(description: str) -> tuple[FaultRule, ...]:
    lines = (line.strip() for line in description.splitlines())
    return tuple(rule for line in lines if line.startswith(MARK) for rule in parse_rules(line.removeprefix(MARK)))


def _response(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.code.http_status)
