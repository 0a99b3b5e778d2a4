"""The sandbox Argo server on a free port, in this process, with a real S3 server beside it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import urllib3
from pydantic import JsonValue, SecretStr

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.app import create_app
from meta.sandbox.argo.serving import ArgoSandboxServer
from meta.sandbox.argo.state.status import JsonObject
from tests.support.objects import BUCKET, ObjectServer

NAMESPACE = "argo"
NOTHING: JsonObject = {}


@dataclass
class Argo:
    """A client of the server, as simple as curl."""

    url: str
    token: str | None = None

    def __post_init__(self) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=30))

    def call(self, method: str, path: str, body: JsonValue = None, **query: str) -> tuple[int, JsonObject]:
        answer = self._http.request(
            method, f"{self.url}/api/v1{path}", json=body, fields=None,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
        ) if not query else self._http.request(
            method, f"{self.url}/api/v1{path}?{_encode(query)}",
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
        )  # fmt: skip
        return answer.status, cast("JsonObject", answer.json())

    def create(self, workflow: JsonObject) -> JsonObject:
        status, body = self.call("POST", f"/workflows/{NAMESPACE}", {"workflow": workflow})
        assert status == 200, body
        return body

    def refuse(self, workflow: JsonObject) -> str:
        """Create a workflow that must be refused, and give the reason."""
        status, body = self.call("POST", f"/workflows/{NAMESPACE}", {"workflow": workflow})
        assert (status, body.get("code")) == (400, 3), body
        return str(body["message"])

    def get(self, name: str) -> JsonObject:
        status, body = self.call("GET", f"/workflows/{NAMESPACE}/{name}")
        assert status == 200, body
        return body

    def put(self, name: str, verb: str) -> tuple[int, JsonObject]:
        return self.call("PUT", f"/workflows/{NAMESPACE}/{name}/{verb}", {})

    def until(self, name: str, reached: Callable[[JsonObject], bool], seconds: float = 30) -> JsonObject:
        """Wait until the workflow's status is as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            workflow = self.get(name)
            if reached(cast("JsonObject", workflow["status"])):
                return workflow
            assert time.monotonic() < deadline, json.dumps(workflow["status"], indent=1)
            time.sleep(0.05)

    def finished(self, name: str, phase: str | None = None, seconds: float = 30) -> JsonObject:
        workflow = self.until(name, lambda status: bool(status.get("finishedAt")), seconds)
        if phase is not None:
            status = cast("JsonObject", workflow["status"])
            assert status["phase"] == phase, json.dumps(status, indent=1)
        return workflow

    def run(self, workflow: JsonObject, phase: str = "Succeeded") -> JsonObject:
        created = self.create(workflow)
        return self.finished(str(cast("JsonObject", created["metadata"])["name"]), phase)

    def logs(self, name: str, **query: str) -> list[str]:
        answer = self._http.request(
            "GET", f"{self.url}/api/v1/workflows/{NAMESPACE}/{name}/log?{_encode(query)}"
        )  # fmt: skip
        return [json.loads(line)["result"]["content"] for line in answer.data.decode().splitlines()]


def _encode(query: dict[str, str]) -> str:
    from urllib.parse import urlencode

    return urlencode({key.replace("__", "."): value for key, value in query.items()})


def nodes_of(workflow: JsonObject) -> dict[str, JsonObject]:
    """The nodes by display name."""
    nodes = cast("dict[str, JsonObject]", cast("JsonObject", workflow["status"]).get("nodes", {}))
    return {str(node["displayName"]): node for node in nodes.values()}


@contextmanager
def serve(settings: ArgoSandboxSettings) -> Generator[Argo]:
    """Run the application through uvicorn in a thread."""
    server = ArgoSandboxServer(create_app(settings), "127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Argo(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def make_settings(folder: Path, objects: ObjectServer, environments: Path) -> ArgoSandboxSettings:
    table = folder / "images.toml"
    table.write_text(
        '[images."sandbox/echo:1"]\ncommand = ["echo"]\n'
        '[images."sandbox/say:1"]\ncommand = ["/say"]\npath = "programs"\n'
    )
    (folder / "programs").mkdir()
    (folder / "programs" / "say").write_text('#!/bin/sh\necho said "$@"\n')
    (folder / "programs" / "say").chmod(0o755)
    return ArgoSandboxSettings(
        data_dir=folder / "argo", s3_endpoint=objects.endpoint, s3_bucket=BUCKET,
        access_key_id=SecretStr(objects.access_key), secret_access_key=SecretStr(objects.secret_key),
        images=(table,), environments=environments,
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, objects: ObjectServer, environments: Path) -> ArgoSandboxSettings:
    return make_settings(tmp_path, objects, environments)


@pytest.fixture(scope="module")
def module_settings(
    tmp_path_factory: pytest.TempPathFactory, objects: ObjectServer, environments: Path
) -> ArgoSandboxSettings:
    """Settings of a server that a module's tests share."""
    return make_settings(tmp_path_factory.mktemp("sandbox-argo"), objects, environments)


@pytest.fixture
def argo(settings: ArgoSandboxSettings) -> Generator[Argo]:
    with serve(settings) as client:
        yield client


@dataclass
class ServerProcess:
    """The server as a process of its own, to be killed."""

    process: subprocess.Popen[bytes]
    argo: Argo

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def server_process(settings: ArgoSandboxSettings, port: int, *arguments: str) -> Generator[ServerProcess]:
    keys = (settings.access_key_id.get_secret_value(), settings.secret_access_key.get_secret_value())
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
    process = subprocess.Popen(
        [
            sys.executable, "-m", "meta.sandbox.argo", "--host", "127.0.0.1", "--port", str(port),
            "--data-dir", str(settings.data_dir), "--s3-endpoint", str(settings.s3_endpoint), "--s3-bucket", BUCKET,
            "--images", str(settings.images[0]), "--environments", str(settings.environments), *arguments,
        ],
        env=environment,
    )  # fmt: skip
    argo = Argo(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert argo.call("GET", "/version")[0] == 200
                break
            except urllib3.exceptions.HTTPError:
                assert process.poll() is None and time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
        yield ServerProcess(process, argo)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def workflow(name: str, entrypoint: str, *templates: Mapping[str, object], **spec: object) -> JsonObject:
    """A manifest."""
    body = cast("JsonObject", {"entrypoint": entrypoint, "templates": list(templates), **spec})
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": body,
    }  # fmt: skip


def shell(name: str, source: str, **template: object) -> JsonObject:
    """A container template that runs a shell command."""
    container = {"image": "alpine:3", "command": ["sh", "-c"], "args": [source]}
    return cast("JsonObject", {"name": name, "container": container, **template})


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def until(reached: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
