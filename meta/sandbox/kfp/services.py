"""What a request handler works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from meta.sandbox.images import ImageTable
from meta.sandbox.kfp.catalog import Catalog
from meta.sandbox.kfp.controller import Controller
from meta.sandbox.kfp.database import Database
from meta.sandbox.kfp.metadata_store import MetadataStore
from meta.sandbox.kfp.runs import RunStore
from meta.sandbox.kfp.settings import KfpSandboxSettings
from meta.sandbox.kubernetes_objects import KubernetesObjects


@dataclass(frozen=True, slots=True)
class Services:
    """One per server; lives in the application's state while it runs."""

    settings: KfpSandboxSettings
    database: Database
    catalog: Catalog
    runs: RunStore
    metadata: MetadataStore
    images: ImageTable
    objects: KubernetesObjects
    controller: Controller


def services(request: Request) -> Services:
    """The server's services."""
    return cast("Services", request.app.state.services)
