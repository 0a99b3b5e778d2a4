"""The service as the process that the embedded stack and containers start."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import BinaryIO

from meta.client import MetaClient
from meta.processes import spawn
from tests.support.ports import free_port


def command(folder: Path, grpc: str) -> list[str]:
    file = folder / "meta.toml"
    file.write_text(
        f'[grpc]\naddress = "{grpc}"\n[store]\nurl = "sqlite+aiosqlite:///{folder}/store.db"\n'
        '[temporal]\naddress = "127.0.0.1:1"\n[nats]\nurl = "nats://127.0.0.1:1"\n'
    )
    return [sys.executable, "-m", "meta.service", "--config", str(file)]


async def serve_once(arguments: list[str], address: str, *, stdout: BinaryIO, stderr: BinaryIO) -> None:
    """Start a service, ask it something, and end it as systemd would."""
    process = await spawn(arguments, stdout=stdout, stderr=stderr)
    try:
        async with MetaClient(address, patience_s=30) as client:
            assert await client.workflows() == []
        process.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        await process.stop(0)


async def test_it_serves_without_temporal_and_nats_and_ends_on_sigterm(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "log").open("wb") as log:
        await serve_once(command(tmp_path, address), address, stdout=log, stderr=log)
    text = (tmp_path / "log").read_text()
    assert f"serving gRPC on {address}" in text
    assert "NATS at nats://127.0.0.1:1" in text
    assert "Traceback" not in text


async def test_a_port_that_is_taken_ends_it_with_the_mend(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, (tmp_path / "log").open("wb") as log:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await spawn(command(tmp_path, address), stdout=log, stderr=log)
        try:
            async with asyncio.timeout(30):
                assert await process.wait() == 1
        finally:
            await process.stop(0)
    text = (tmp_path / "log").read_text()
    assert f"cannot listen on {address}" in text
    assert "grpc.address in meta.toml" in text
    assert "Traceback" not in text
