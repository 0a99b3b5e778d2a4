"""The application: routes in front, the controller behind, ML Metadata beside.

API (api_*.py, requests.py, views.py, errors.py)      what clients see; the real server's words
state (database.py, runs.py, catalog.py, metadata_store.py, listing.py)
execution (controller.py, session.py, inside/kfp_run, recorder.py, objects.py, pythons.py)
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.images import ImageTable
from meta.sandbox.kfp import api_experiments, api_other, api_pipelines, api_runs, api_tasks, metadata_service, uploads
from meta.sandbox.kfp.catalog import Catalog
from meta.sandbox.kfp.controller import Controller
from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.errors import ApiError, Code
from meta.sandbox.kfp.faults import KfpFaults
from meta.sandbox.kfp.metadata_store import MetadataStore
from meta.sandbox.kfp.objects import Objects
from meta.sandbox.kfp.runs import RunStore
from meta.sandbox.kfp.services import Services
from meta.sandbox.kfp.settings import KfpSandboxSettings
from meta.sandbox.kubernetes_objects import KubernetesObjects

_LOG = logging.getLogger(__name__)
_GRPC_STOP_GRACE_S = 1.0
_VERSION_3 = 3
_ROUTES = (api_runs, api_experiments, uploads, api_pipelines, api_other)  # uploads: before pipelines/{id}


def create_app(settings: KfpSandboxSettings) -> Starlette:
    """Make the server's application.

    Its life span starts and stops everything else: the ML Metadata server (its port is `app.state.metadata_port` then)
    and the runs.

    Args:
        settings: see there.

    Raises:
        SettingsInvalid: an images table or a file of objects is not valid, or a fault is not one of KFP's.
    """
    faults = KfpFaults(settings.faults, admin=settings.admin)
    version_3 = settings.api_version == _VERSION_3
    images = ImageTable.load(settings.images)
    objects = KubernetesObjects.load(settings.objects)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        database = Database(settings.data_dir / "kfp.sqlite")
        metadata = MetadataStore(database, Objects(settings).session_info, settings.namespace)
        store = RunStore(database)
        faults.attach(store)
        controller = Controller(settings, store, metadata, images, objects)
        server, app.state.metadata_port = await metadata_service.start(
            None if version_3 else metadata, settings.host, settings.metadata_port, [faults.interceptor()]
        )
        app.state.services = Services(
            settings=settings, database=database, catalog=Catalog(database), runs=store, metadata=metadata,
            images=images, objects=objects, controller=controller,
        )  # fmt: skip
        controller.recover()
        try:
            yield
        finally:
            await controller.close()
            await server.stop(_GRPC_STOP_GRACE_S)
            database.close()

    app = Starlette(
        routes=[route for module in (*_ROUTES, *([api_tasks] if version_3 else [])) for route in module.routes()],
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _bug},
    )
    return faults.install(app)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.code.http_status)


async def _http_error(request: Request, error: Exception) -> Response:
    """No such route, or not with that method: grpc-gateway's words."""
    assert isinstance(error, HTTPException)
    code = Code.UNIMPLEMENTED if error.status_code == 405 else Code.NOT_FOUND
    message = "Method Not Allowed" if code is Code.UNIMPLEMENTED else "Not Found"
    return JSONResponse({"code": code.number, "message": message, "details": []}, code.http_status)


async def _bug(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    answer = ApiError(Code.INTERNAL, f"Internal error: {type(error).__name__}: {error}", "Internal Server Error")
    return JSONResponse(answer.body(), Code.INTERNAL.http_status)
