"""The server as a Starlette application; its lifespan runs the controller."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from meta.sandbox.argo.api import archive, info, streams, submit, templates, verbs, watch, workflows
from meta.sandbox.argo.api.errors import ApiError, Code, on_api_error, on_fault, on_unknown_route
from meta.sandbox.argo.api.request import Server
from meta.sandbox.argo.controller import Controller
from meta.sandbox.argo.faults import ArgoFaults
from meta.sandbox.argo.operator.locks import Locks, semaphore_limits
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.pods.artifacts import ArtifactRepository
from meta.sandbox.argo.pods.runner import PodRunner
from meta.sandbox.argo.resources.cluster import Cluster
from meta.sandbox.argo.resources.runner import ResourceRunner
from meta.sandbox.argo.settings import ArgoSandboxSettings
from meta.sandbox.argo.state.caches import Caches
from meta.sandbox.argo.state.past import ListedStore
from meta.sandbox.environments import EnvironmentCache
from meta.sandbox.images import ImageTable
from meta.sandbox.kubernetes_objects import KubernetesObjects
from meta.sandbox.support import REFUSED_ROUTE

_WORKFLOWS = "/api/v1/workflows/{namespace}"
_ANY = ["GET", "POST", "PUT", "DELETE", "PATCH"]
_VERBS = {
    "terminate": verbs.terminate,
    "stop": verbs.stop,
    "retry": verbs.retry,
    "suspend": verbs.suspend,
    "resume": verbs.resume,
    "set": verbs.set_nodes,
    "resubmit": submit.resubmit,
}


def create_app(settings: ArgoSandboxSettings) -> Starlette:
    """Make the application.

    Raises:
        SettingsInvalid: an images table or a Kubernetes object is missing or wrong, or a fault is not one of Argo's.
    """
    faults = ArgoFaults(settings.faults, admin=settings.admin)
    objects = KubernetesObjects.load(settings.objects)
    images = ImageTable.load(settings.images)
    repository = ArtifactRepository(
        settings.s3_endpoint,
        settings.s3_bucket,
        settings.access_key_id.get_secret_value(),
        settings.secret_access_key.get_secret_value(),
        root=settings.artifact_root,
        objects=objects,
        limit=settings.artifact_limit_bytes,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = ListedStore(settings.data_dir / "argo.db", archive=settings.archive)
        runner = PodRunner(
            images, EnvironmentCache(settings.environments), repository, settings.data_dir / "claims", objects
        )  # fmt: skip
        shared = Shared(Locks(semaphore_limits(objects)), Caches(store.db, objects), objects)
        controller = Controller(
            store, runner, settings.data_dir, settings.max_concurrent_pods, keep=settings.keep, shared=shared
        )
        server = app.state.server = Server(store, controller, images, repository, settings.namespace)
        store.core.share(objects, settings.namespace)
        cluster = Cluster(server, runner.claims)
        controller.attach(ResourceRunner(cluster, store))
        controller.start()
        faults.attach(store, controller)
        try:
            yield
        finally:
            await faults.close()
            await controller.close()
            store.close()

    routes = [
        Route("/api/v1/version", info.version),
        Route("/api/v1/info", info.info),
        Route("/api/v1/userinfo", info.user_info),
        *archive.routes(),
        *templates.routes(),
        Route(_WORKFLOWS, workflows.create, methods=["POST"]),
        Route(_WORKFLOWS, workflows.list_all),
        Route(f"{_WORKFLOWS}/submit", submit.submit, methods=["POST"]),
        Route(f"{_WORKFLOWS}/lint", submit.lint, methods=["POST"]),
        Route(f"{_WORKFLOWS}/{{name}}", workflows.get),
        Route(f"{_WORKFLOWS}/{{name}}", workflows.delete, methods=["DELETE"]),
        *(Route(f"{_WORKFLOWS}/{{name}}/{verb}", action, methods=["PUT"]) for verb, action in _VERBS.items()),
        Route(f"{_WORKFLOWS}/{{name}}/log", streams.logs),
        Route(f"{_WORKFLOWS}/{{name}}/{{pod}}/log", streams.logs),
        Route("/api/v1/workflow-events/{namespace}", watch.watch),
        Route("/api/v1/{rest:path}", info.unimplemented, methods=_ANY, name=REFUSED_ROUTE),
    ]
    token = settings.token.get_secret_value() if settings.token else None
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(_BearerToken, token=token)] if token else [],
        exception_handlers={ApiError: on_api_error, 404: on_unknown_route, Exception: on_fault},
    )
    return faults.install(app)


class _BearerToken:
    """Lets only requests with the token through (server/auth)."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Request(scope).headers.get("authorization", "")
            if not secrets.compare_digest(given.encode(), self._expected.encode()):
                error = ApiError(Code.UNAUTHENTICATED, "token not valid. see the server's --token")
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)
