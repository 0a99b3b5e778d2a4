"""The sandbox Kubeflow Pipelines server as a process on free ports, with a real S3 server beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.exceptions import BaseError

from tests.integration.sandbox_kfp.support import (
    ACCESS,
    BIN,
    BUCKET,
    SECRET,
    ObjectServer,
    Server,
    free_ports,
    stop,
    wait_until,
)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    folder = tmp_path_factory.mktemp("s3")
    config = folder / "s3.json"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), free_ports(8), strict=True))
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(BIN / "weed"), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-filer", "-s3", f"-s3.config={config}", "-volume.max=4", "-master.volumeSizeLimitMB=64",
                "-s3.port.iceberg=0", "-s3.port.lance=0", *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    server = ObjectServer(f"http://127.0.0.1:{ports['s3.port']}")

    def ready() -> bool:
        assert process.poll() is None, (folder / "weed.log").read_text(errors="replace")[-3000:]
        try:
            server.put(".ready", b"")  # makes the bucket: weed does so for admins
        except BaseError:
            return False
        return True

    try:
        wait_until(ready, "an S3 server that takes an object")
        yield server
    finally:
        stop(process, signal.SIGKILL)  # its data are temporary; a graceful end takes ten seconds


@pytest.fixture(scope="session")
def environments() -> Path:
    """Environments outlive the session: making the one with kfp takes a minute on a machine that never had it."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "meta-workflows" / "environments"


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
        env = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
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
