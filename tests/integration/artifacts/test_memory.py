"""Copies in processes of their own: how much memory they take, and what is left when they are killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.integration.artifacts.conftest import LAKE, Lake, name, settings_of
from tests.support.objects import BUCKET, ObjectServer
from workers.artifacts import Progress
from workers.artifacts.multipart import S3Uploads
from workers.artifacts.signing import Keys
from workers.artifacts.transfer import PART
from workflows.outcome import Artifact

MB = 1024 * 1024
MOST_MB = 200
"""Growth of the resident memory at its peak. Parts of 8 MiB are in flight, so a copy should take some 100 MB."""


def store(server: ObjectServer, **more: Any) -> dict[str, Any]:
    return {"endpoint": server.endpoint, "access_key": server.access_key, "secret_key": server.secret_key, **more}


async def copying(lake: Lake, artifact: Artifact, folder: Path) -> asyncio.subprocess.Process:
    """Begin to copy into the lake."""
    stores = {
        "lake": store(lake.server, serves=[LAKE], staging=lake.staging),
        "disk": {"type": "file", "serves": [folder.as_uri()]},
    }
    (folder / "small").write_bytes(b"x")
    given = {
        "stores": stores,
        "objects": store(lake.common),
        "artifact": artifact.model_dump(mode="json"),
        "warm": (folder / "small").as_uri(),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.artifacts.copying", json.dumps(given), stdout=asyncio.subprocess.PIPE
    )


async def copied(lake: Lake, artifact: Artifact, folder: Path) -> tuple[Artifact, float]:
    """Copy into the lake, check the copy by reading it, and give the memory that it took."""
    process = await copying(lake, artifact, folder)
    output, _ = await process.communicate()
    assert process.returncode == 0
    told = json.loads(output)
    print(f"{artifact.name}: {told['done'] / MB:,.0f} MB copied, memory grew by {told['grown_mb']:.0f} MB at most")
    assert told["done"] == artifact.size
    return Artifact.model_validate(told["copied"]), told["grown_mb"]


async def test_some_hundred_megabytes_go_from_store_to_store_without_being_held(lake: Lake, tmp_path: Path) -> None:
    piece, count = hashlib.sha512(b"seed").digest() * (MB // 64), 320
    key, hasher = f"{name()}/large.bin", hashlib.sha256()

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(count):
            hasher.update(piece)
            yield piece

    await obstore.put_async(lake.common.store(), key, pieces(), max_concurrency=2)
    made = Artifact(name="large", uri=f"s3://{BUCKET}/{key}", sha256=hasher.hexdigest(), size=count * MB)
    copy, grown = await copied(lake, made, tmp_path)
    assert copy.uri == f"{lake.staging}/sha256/{made.sha256}/large.bin"
    assert grown < MOST_MB


async def test_a_worker_that_is_killed_in_the_middle_of_a_copy_leaves_its_parts_to_the_next_one(
    lake: Lake, tmp_path: Path
) -> None:
    large, size = tmp_path / "large", 40 * PART
    with large.open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256(bytes(size)).hexdigest()
    made = Artifact(name="large", uri=large.as_uri(), sha256=digest, size=size)
    key = f"{lake.staging}/sha256/{digest}/large".removeprefix(f"s3://{BUCKET}/")
    uploads = S3Uploads(settings_of(lake.server), BUCKET, Keys(lake.server.access_key, lake.server.secret_key))
    process = await copying(lake, made, tmp_path)
    async with asyncio.timeout(60):
        while (upload := await uploads.find(key)) is None or len(await uploads.parts(key, upload)) < 4:
            await asyncio.sleep(0.02)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was still at it"
    artifacts, progress = lake.artifacts(), Progress()
    copy = await artifacts.copy(made, "argo", progress)
    assert progress.kept >= 4 * PART
    assert progress.done == size
    await artifacts.check(copy.model_copy(update={"etag": None}))
    artifacts.close()
    uploads.close()


@pytest.mark.prove
async def test_ten_thousand_objects_go_from_store_to_store_in_bounded_memory(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    digest, size = hashlib.sha256(), 0
    for number in range(10_000):
        file = folder / f"{number // 1000}" / f"{number:05}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        data = b"%d" % number * 100
        file.write_bytes(data)
        size += len(data)
        line = f"{file.relative_to(folder)}\0{len(data)}\0{hashlib.sha256(data).hexdigest()}\n"
        digest.update(line.encode())  # names are made in their order
    made = Artifact(name="many", uri=folder.as_uri(), sha256=digest.hexdigest(), size=size)
    copy, grown = await copied(lake, made, tmp_path)
    assert copy.uri == f"{lake.staging}/tree/{made.sha256}/many"
    facts = await lake.artifacts().stat(copy.uri, digest=False)
    assert facts is not None
    assert (facts.objects, facts.size) == (10_000, size)
    assert grown < MOST_MB


@pytest.mark.prove
async def test_five_gigabytes_are_not_held(lake: Lake, tmp_path: Path) -> None:
    large, size = tmp_path / "large", 5 * 1024 * MB
    with large.open("wb") as file:
        file.truncate(size)  # sparse: it costs no disk here, but all of it in the copy
    hasher, piece = hashlib.sha256(), bytes(64 * MB)
    for _ in range(size // len(piece)):
        hasher.update(piece)
    made = Artifact(name="large", uri=large.as_uri(), sha256=hasher.hexdigest(), size=size)
    _, grown = await copied(lake, made, tmp_path)
    assert grown < MOST_MB
