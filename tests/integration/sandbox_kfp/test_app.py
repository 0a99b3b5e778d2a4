"""The application inside another process, as tests of other parts use it."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest
import urllib3
import uvicorn

from meta.sandbox.kfp.app import create_app
from meta.sandbox.kfp.settings import KfpSandboxSettings
from tests.integration.sandbox_kfp.support import wait_until
from tests.support.objects import BUCKET, ObjectServer
from tests.support.ports import free_port
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc
from workflows.errors import PortTaken, SettingsInvalid


def settings(folder: Path, objects: ObjectServer, **fields: object) -> KfpSandboxSettings:
    return KfpSandboxSettings(
        data_dir=folder / "data", s3_endpoint=objects.endpoint, s3_bucket=BUCKET, s3_access_key=objects.access_key,
        s3_secret_key=objects.secret_key, environments_dir=folder / "environments", **fields,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def test_it_serves_both_ports_for_its_life_span(tmp_path: Path, objects: ObjectServer) -> None:
    app = create_app(settings(tmp_path, objects))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "a started server")
        with urllib3.PoolManager() as http:
            health = http.request("GET", f"http://127.0.0.1:{port}/apis/v2beta1/healthz")
            experiments = http.request("GET", f"http://127.0.0.1:{port}/apis/v2beta1/experiments").json()
        assert (health.status, health.json()["multi_user"]) == (200, False)
        assert [one["display_name"] for one in experiments["experiments"]] == ["Default"]
        with grpc.insecure_channel(f"127.0.0.1:{app.state.metadata_port}") as channel:
            types = pb_grpc.MetadataStoreServiceStub(channel).GetContextTypes(pb.GetContextTypesRequest(), timeout=10)
        assert list(types.context_types) == []
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


async def test_a_metadata_port_that_is_taken_is_named(tmp_path: Path, objects: ObjectServer) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        app = create_app(settings(tmp_path, objects, metadata_port=other.getsockname()[1]))
        with pytest.raises(PortTaken, match="the ML Metadata port"):
            async with app.router.lifespan_context(app):
                pass


def test_a_broken_images_table_is_said_before_anything_starts(tmp_path: Path, objects: ObjectServer) -> None:
    with pytest.raises(SettingsInvalid, match=r"gone\.toml"):
        create_app(settings(tmp_path, objects, images=(tmp_path / "gone.toml",)))


def test_the_settings_do_not_show_their_secrets(tmp_path: Path, objects: ObjectServer) -> None:
    assert objects.secret_key not in repr(settings(tmp_path, objects))
