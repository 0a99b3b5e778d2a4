"""What the Argo server adds to `meta.sandbox.faults`: its requests and errors, and faults of its workflows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from meta.sandbox.argo.api import framing
from meta.sandbox.argo.api.errors import ApiError, Code, not_found
from meta.sandbox.argo.controller import Controller
from meta.sandbox.argo.operator.rerun import NotRetryableError
from meta.sandbox.argo.state.hub import BehindError
from meta.sandbox.argo.state.past import ListedStore, as_of
from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.faults import EngineName, FaultPlan, FaultRule, Kind
from meta.sandbox.faults.call import Call, Route
from meta.sandbox.faults.ledger import Occasion
from meta.sandbox.faults.middleware import FaultInjector
from meta.sandbox.faults.rules import parse_kinds, parse_rules
from meta.sandbox.faults.stream import EVENT_KINDS, WatchStream

MARK = "sandbox.meta-workflows/fault"
"""As a label: kinds joined by dots, each once. As an annotation: rules apart by semicolons."""

_WORKFLOWS = "/api/v1/workflows/[^/]+"
_WORKFLOW = f"{_WORKFLOWS}/(?P<run>[^/]+)"
_AT_END = frozenset({Kind.EARLY_DELETION, Kind.RECORD_GONE, Kind.REOPENED})


class ArgoFaults(FaultInjector):
    """The faults of one server; `attach` gives it what it acts on."""

    engine = EngineName.ARGO
    routes = (
        Route("GET", "/api/v1/version", "health"),
        Route("POST", f"{_WORKFLOWS}/lint", "other"),
        Route("POST", f"{_WORKFLOWS}(/submit)?", "create"),
        Route("GET", _WORKFLOWS, "list"),
        Route("GET", "/api/v1/workflow-events/[^/]+", "watch"),
        Route("GET", "/api/v1/archived-workflows(/(?P<run>[^/]+))?", "archived"),
        Route("GET", _WORKFLOW, "get"),
        Route("DELETE", _WORKFLOW, "delete"),
        Route("GET", f"{_WORKFLOW}(/[^/]+)?/log", "log"),
        *(
            Route("PUT", f"{_WORKFLOW}/{verb}", verb)
            for verb in ("terminate", "stop", "retry", "suspend", "resume", "set", "resubmit")
        ),
        *(Route(method, "/api/v1/.*", "other") for method in ("GET", "POST", "PUT", "DELETE")),
    )

    def __init__(self, plan: FaultPlan, *, admin: bool = False) -> None:
        super().__init__(plan, admin=admin)
        self._store: ListedStore | None = None
        self._controller: Controller | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone: dict[str, str] = {}  # uid -> name of workflows that no answer may show

    def attach(self, store: ListedStore, controller: Controller) -> None:
        """Begin: the server has started."""
        self._store, self._controller = store, controller
        self.replace(self.ledger.plan)
        self._task = asyncio.create_task(self._follow(store), name="faults")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def replace(self, plan: FaultPlan) -> None:
        super().replace(plan)
        if self._store is not None and self.ledger.has({Kind.STALE_LIST}):
            self._store.remember()

    def occasion(self, verb: str, run: str, call: Call) -> Occasion:
        if verb == "create":
            return _to_create(call.body or b"")
        if verb == "watch" and not run:
            selector = Request(call.scope).query_params.get("listOptions.fieldSelector", "")
            run = selector.removeprefix("metadata.name=") if selector.startswith("metadata.name=") else ""
        namespace = cast("str", call.scope["path"]).split("/")[4:5]
        workflow = self._store.get(namespace[0], run) if self._store is not None and run and namespace else None
        if workflow is None:
            return Occasion(verb, run)
        return _of(verb, workflow)

    def refused(self, message: str) -> Response:
        return ApiError(Code.INVALID_ARGUMENT, message).response()

    def failed(self, rule: FaultRule, run: str) -> Response:
        modified = "the object has been modified; please apply your changes to the latest version and try again"
        code, message = {
            Kind.QUOTA_CONFLICT: (
                Code.ALREADY_EXISTS, f'Operation cannot be fulfilled on resourcequotas "sandbox": {modified}',
            ),
            Kind.RETRY_CONFLICT: (
                Code.ALREADY_EXISTS, f'Operation cannot be fulfilled on workflows.argoproj.io "{run}": {modified}',
            ),
            Kind.SERVER_ERROR: (Code.INTERNAL, rule.message or "etcdserver: request timed out"),
        }[rule.kind]  # fmt: skip
        return ApiError(code, message).response()

    async def carry_out(self, app: ASGIApp, call: Call, occasion: Occasion, run: str) -> None:
        rule = self.ledger.first({Kind.STALE_LIST}, occasion)
        with as_of(time.monotonic() - rule.seconds) if rule is not None else as_of(None):
            if occasion.verb == "watch":
                await self._watch(app, call, occasion)
            elif self._gone and occasion.verb in ("get", "list", "archived"):
                await call.answer(self._without_gone(await call.kept(app)))
            else:
                await call.run(app)

    async def _watch(self, app: ASGIApp, call: Call, occasion: Occasion) -> None:
        query, events = Request(call.scope).query_params, framing.wants_events(Request(call.scope))

        def error(code: Code, message: str) -> bytes:
            return framing.frame(framing.error_chunk(code, message, query.get("fields", "")), events=events)

        version = query.get("listOptions.resourceVersion", "")
        # without a version, or from 0, the server begins with what there is, which is never too old
        rule = self.ledger.first({Kind.WATCH_TOO_OLD}, occasion) if version not in ("", "0") else None
        if rule is not None:
            told = error(Code.INVALID_ARGUMENT, f"too old resource version: {version} ({version}1)")
            headers = {**framing.HEADERS, "Content-Type": framing.media_type(events=events)}
            await call.answer(Response(told, 200 if rule.stream else 400, headers))
            return
        stream = WatchStream(
            call,
            lambda name: self.ledger.first(EVENT_KINDS, self.occasion("watch", name, call)),
            lambda: self.watched or self.ledger.has(EVENT_KINDS),
            lambda rule: error(Code.RESOURCE_EXHAUSTED, rule.message or "EOF"),
        )
        await call.run(app, stream.send)

    def _without_gone(self, answer: Response) -> Response:
        body = _objects(json.loads(bytes(answer.body) or b"{}")) if answer.status_code == 200 else {}
        items = body.get("items")
        if isinstance(items, list):
            listed = cast("list[object]", items)
            shown = [item for item in listed if not self._is_gone(item)]
            return answer if len(shown) == len(listed) else JSONResponse({**body, "items": shown or None})
        return not_found(self._name_of_gone(body)).response() if self._is_gone(body) else answer

    def _is_gone(self, workflow: object) -> bool:
        return bool(self._name_of_gone(workflow))

    def _name_of_gone(self, workflow: object) -> str:
        return self._gone.get(str(_objects(_objects(workflow).get("metadata")).get("uid")), "")

    async def _follow(self, store: ListedStore) -> None:
        """See the end of each workflow, once for each of its ends."""
        ended: set[tuple[str, object]] = set()
        while not store.hub.closed:
            with (
                contextlib.suppress(BehindError),
                store.hub.subscribe(None) as events,
            ):  # what it missed is spared
                while batch := await events.read():
                    for event in batch:
                        store.note(event.namespace, event.name)
                        workflow = store.get(event.namespace, event.name)
                        if workflow is None or not workflow.status.phase.completed:
                            continue
                        end = (workflow.metadata.uid, workflow.status.finished_at)
                        if end not in ended:
                            ended.add(end)
                            self._at_end(workflow)

    def _at_end(self, workflow: Workflow) -> None:
        for rule in self.ledger.decide(_AT_END, _of("end", workflow)):
            act = {Kind.REOPENED: self._retry, Kind.RECORD_GONE: self._forget}.get(rule.kind, self._delete)
            asyncio.get_running_loop().call_later(rule.seconds, act, workflow)

    def _delete(self, workflow: Workflow) -> None:
        if self._controller is not None and workflow.status.phase.completed:
            self._controller.delete(workflow)

    def _forget(self, workflow: Workflow) -> None:
        self._gone[workflow.metadata.uid] = workflow.name
        self._delete(workflow)

    def _retry(self, workflow: Workflow) -> None:
        try:
            if self._controller is not None:
                self._controller.retry(workflow)
        except NotRetryableError:
            return  # it has succeeded, or somebody was quicker


def _of(verb: str, workflow: Workflow) -> Occasion:
    metadata = workflow.metadata
    return Occasion(verb, workflow.name, metadata.labels, _own(metadata.labels, metadata.annotations))


def _own(labels: Mapping[str, str], annotations: Mapping[str, str]) -> tuple[FaultRule, ...]:
    return (*parse_kinds(labels.get(MARK, "")), *parse_rules(annotations.get(MARK, "")))


def _to_create(body: bytes) -> Occasion:
    """The workflow that a body would make; wrong bodies are left to the server."""
    try:
        found = _objects(json.loads(body))
    except ValueError:
        return Occasion("create")
    workflow, options = _objects(found.get("workflow")), _objects(found.get("submitOptions"))
    metadata = _objects(workflow.get("metadata")) or options
    labels, annotations = (_strings(metadata.get(key)) for key in ("labels", "annotations"))
    name = metadata.get("name") or metadata.get("generateName") or ""
    return Occasion("create", str(name), labels, _own(labels, annotations))


def _objects(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _strings(value: object) -> dict[str, str]:
    """An object of strings, or `k=v,k=v` as submitOptions have it."""
    if isinstance(value, str):
        return dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
    return {key: item for key, item in _objects(value).items() if isinstance(item, str)}
