"""What the Argo server adds to `meta.sandbox.faults`: its requests and errors, and faults of its workflows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.controller import Controller
from meta.sandbox.argo.operator.rerun import NotRetryableError
from meta.sandbox.argo.state.store import Store
from meta.sandbox.argo.state.workflow import Workflow
from meta.sandbox.faults import EngineName, FaultPlan, FaultRule, Kind
from meta.sandbox.faults.call import Call, Route
from meta.sandbox.faults.ledger import Occasion
from meta.sandbox.faults.middleware import FaultInjector
from meta.sandbox.faults.rules import parse_kinds, parse_rules

MARK = "sandbox.meta-workflows/fault"
"""As a label: kinds joined by dots, each once. As an annotation: rules apart by semicolons."""

_WORKFLOWS = "/api/v1/workflows/[^/]+"
_WORKFLOW = f"{_WORKFLOWS}/(?P<run>[^/]+)"
_AT_END = frozenset({Kind.EARLY_DELETION, Kind.RECORD_GONE, Kind.REOPENED})
_HORIZON_S = 120.0


class ArgoFaults(FaultInjector):
    """The faults of one server; `attach` gives it what it acts on."""

    engine = EngineName.ARGO
    routes = (
        Route("GET", "/api/v1/version", "health"),
        Route("POST", f"{_WORKFLOWS}/lint", "other"),
        Route("POST", f"{_WORKFLOWS}(/submit)?", "create"),
        Route("GET", _WORKFLOWS, "list"),
        Route("GET", "/api/v1/workflow-events/[^/]+", "watch"),
        Route("GET", "/api/v1/archived-workflows/[^/]+", "archived"),
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
        with _as_of(time.monotonic() - rule.seconds) if rule is not None else _as_of(None):
            await call.run(app)

    async def _follow(self, store: ListedStore) -> None:
        """See the end of each workflow, once for each of its ends."""
        ended: set[tuple[str, object]] = set()
        with store.hub.subscribe(None) as events:
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
            act = self._retry if rule.kind is Kind.REOPENED else self._delete
            asyncio.get_running_loop().call_later(rule.seconds, act, workflow)

    def _delete(self, workflow: Workflow) -> None:
        if self._controller is not None and workflow.status.phase.completed:
            self._controller.delete(workflow)

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


_AS_OF: ContextVar[float | None] = ContextVar("as_of", default=None)


@contextmanager
def _as_of(moment: float | None) -> Generator[None]:
    token = _AS_OF.set(moment)
    try:
        yield
    finally:
        _AS_OF.reset(token)


@dataclass(frozen=True, slots=True)
class _Past:
    """A workflow (None: gone) and the server's resource version at a moment of the monotonic clock, in seconds."""

    moment: float
    version: int
    key: tuple[str, str]
    body: str | None


class ListedStore(Store):
    """A store that a list can see as it was; the past is kept only once a rule asks for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._past: deque[_Past] | None = None
        self._before: dict[tuple[str, str], str] = {}
        self._version_before = 0

    def remember(self) -> None:
        """Keep the past from now on."""
        if self._past is None:
            self._past = deque()
            self._before = {workflow.key: workflow.to_json() for workflow in super().all()}
            self._version_before = super().resource_version

    def note(self, namespace: str, name: str) -> None:
        """A workflow has changed."""
        if self._past is None:
            return
        workflow, now = self.get(namespace, name), time.monotonic()
        body = None if workflow is None else workflow.to_json()
        self._past.append(_Past(now, super().resource_version, (namespace, name), body))
        while self._past and self._past[0].moment < now - _HORIZON_S:
            self._apply(self._before, self._past[0])
            self._version_before = self._past.popleft().version

    @staticmethod
    def _apply(state: dict[tuple[str, str], str], change: _Past) -> None:
        if change.body is None:
            state.pop(change.key, None)
        else:
            state[change.key] = change.body

    @property
    def resource_version(self) -> int:
        moment = _AS_OF.get()
        if moment is None or self._past is None:
            return super().resource_version
        return max((past.version for past in self._past if past.moment <= moment), default=self._version_before)

    def all(self, namespace: str | None = None) -> list[Workflow]:
        moment = _AS_OF.get()
        if moment is None or self._past is None:
            return super().all(namespace)
        state = dict(self._before)
        for past in self._past:
            if past.moment <= moment:
                self._apply(state, past)
        found = (Workflow.from_json(body) for body in state.values())
        return [workflow for workflow in found if namespace in (None, workflow.metadata.namespace)]
