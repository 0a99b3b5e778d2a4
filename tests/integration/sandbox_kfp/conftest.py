"""The sandbox Kubeflow Pipelines server as a process on free ports, with a real S3 server beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.sandbox_kfp.support import Server
from tests.support.objects import BUCKET, ObjectServer
from tests.support.ports import free_ports

MakeServer = Callable[..., Server]


@pytest.fixture(scope="session")
def server_factory(
    tmp_path_factory: pytest.TempPathFactory, objects: ObjectServer, environments: Path
) -> Iterator[MakeServer]:
    servers: list[Server] = []

    def make(*arguments: str) -> Server:
        folder = tmp_path_factory.mktemp("kfp")
        port, metadata_port = free_ports(2)
        command = [
            sys.executable, "-m", "meta.sandbox.kfp", "--port", str(port), "--metadata-port", str(metadata_port),
            "--data-dir", str(folder / "data"), "--s3-endpoint", objects.endpoint, "--s3-bucket", BUCKET,
            "--environments", str(environments), *arguments,
        ]  # fmt: skip
        env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": objects.access_key,
            "AWS_SECRET_ACCESS_KEY": objects.secret_key,
        }
        server = Server(folder / "data", command, env, port, metadata_port)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(server_factory: MakeServer) -> Server:
    """One server for all tests that leave it as it was."""
    return server_factory()


@pytest.fixture
def make_server(server_factory: MakeServer) -> Iterator[MakeServer]:
    """Servers of a test's own, stopped when it ends."""
    made: list[Server] = []

    def make(*arguments: str) -> Server:
        made.append(server_factory(*arguments))
        return made[-1]

    yield make
    for server in made:
        server.stop()
