"""Both sandbox engines in this process, whose faults each test sets over the admin endpoint.

Neither needs an object store here: Argo's workflows have no artifacts, and KFP's runs stay PENDING, as on a cluster
without room, until they are terminated.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import urllib3
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.app import create_app as create_argo
from meta.sandbox.argo.serving import ArgoSandboxServer
from meta.sandbox.faults import FaultPlan
from meta.sandbox.kfp.app import create_app as create_kfp
from meta.sandbox.kfp.settings import KfpSandboxSettings
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.kfp.engine import KfpEngine
from workers.settings import ArgoSettings, KfpSettings, StoreSettings

Json = dict[str, Any]
NO_STORE = "http://127.0.0.1:9"


class Client:
    """A client as simple as curl: no retries, and what breaks is raised."""

    def __init__(self, url: str, base: str) -> None:
        self.url, self._base = url, base
        self.http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=20))
        self.metadata = ""

    def ask(self, method: str, path: str, body: object = None) -> urllib3.BaseHTTPResponse:
        return self.http.request(method, f"{self.url}{self._base}{path}", json=body)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Json]:
        answer = self.ask(method, path, body)
        return answer.status, cast("Json", answer.json())

    def faults(self, *rules: str | Json, seed: int = 0) -> None:
        """Let these go wrong from now on, and nothing else."""
        answer = self.http.request("PUT", f"{self.url}/sandbox/faults", json={"seed": seed, "rules": list(rules)})
        assert answer.status == 200, answer.data

    def fired(self) -> list[int]:
        """How often each rule has happened."""
        plan = self.http.request("GET", f"{self.url}/sandbox/faults").json()
        return [rule["fired"] for rule in plan["rules"]]


def until(reached: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


@contextmanager
def served(server: uvicorn.Server) -> Generator[str]:
    """A server in a thread; gives its URL."""
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "a started server")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def argo_app(folder: Path, plan: FaultPlan | None = None, *, admin: bool = True) -> Starlette:
    return create_argo(
        ArgoSandboxSettings(
            data_dir=folder / "argo", s3_endpoint=NO_STORE, s3_bucket="none", access_key_id=SecretStr("x"),
            secret_access_key=SecretStr("x"), environments=folder / "environments", faults=plan or FaultPlan(),
            admin=admin,
        )
    )  # fmt: skip


@contextmanager
def argo_at(app: Starlette) -> Generator[Client]:
    with served(ArgoSandboxServer(app, "127.0.0.1", 0)) as url:
        yield Client(url, "/api/v1")


@contextmanager
def kfp_at(folder: Path) -> Generator[Client]:
    app = create_kfp(
        KfpSandboxSettings(
            data_dir=folder / "kfp", s3_endpoint=NO_STORE, s3_bucket="none", s3_access_key="x", s3_secret_key="x",
            environments_dir=folder / "environments", max_concurrent_runs=0, admin=True,
        )
    )  # fmt: skip
    with served(uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))) as url:
        client = Client(url, "/apis/v2beta1")
        client.metadata = f"127.0.0.1:{app.state.metadata_port}"
        yield client


@pytest.fixture(scope="module")
def argo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with argo_at(argo_app(tmp_path_factory.mktemp("argo"))) as client:
        yield client


@pytest.fixture
def argo(argo_server: Client) -> Iterator[Client]:
    yield argo_server
    argo_server.faults()


@pytest.fixture(scope="module")
def kfp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with kfp_at(tmp_path_factory.mktemp("kfp")) as client:
        yield client


@pytest.fixture
def kfp(kfp_server: Client) -> Iterator[Client]:
    yield kfp_server
    kfp_server.faults()


@pytest_asyncio.fixture
async def argo_engine(argo: Client) -> AsyncIterator[ArgoEngine]:
    """The adapter, with a net under its watch that is too wide to help it in a test."""
    settings = ArgoSettings(url=argo.url, request_timeout=2.0, settle_delay=0.3, resync=60.0)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def kfp_engine(kfp: Client) -> AsyncIterator[KfpEngine]:
    settings = KfpSettings(url=kfp.url, request_timeout=2.0, settle_delay=0.6, poll=0.1, metadata_address=kfp.metadata)
    engine = KfpEngine("kfp", settings, ArtifactStore(StoreSettings()))
    yield engine
    await engine.close()
