"""Copies as the engines' adapters pass them, and what those say of directories."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tests.integration.artifacts.conftest import Lake, name
from tests.integration.engines.submissions import Pulse, argo_submission, kfp_submission
from tests.integration.engines.test_kfp_wait import engine_at
from tests.integration.sandbox_argo.conftest import make_settings, serve, shell, workflow
from tests.stubs.kfp import KfpStub
from tests.stubs.metadata import serve_metadata
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import Progress
from workers.engines.argo.engine import ArgoEngine
from workers.settings import ArgoSettings
from workflows.errors import ArtifactError


async def test_an_argo_in_another_store_reads_the_copy(lake: Lake, tmp_path: Path, environments: Path) -> None:
    """The engine's own store is the lake; the artifact is in the common one."""
    uri = lake.common.put(f"{name()}/in.txt", b"17\n")
    artifacts = lake.artifacts()
    made = await artifacts.describe("data", uri, producer="prepare")
    inputs = {"artifacts": [{"name": "data", "path": "/tmp/in"}]}
    outputs = {"parameters": [{"name": "got", "valueFrom": {"path": "/tmp/in"}}]}
    leaf = shell("main", "cat /tmp/in", inputs=inputs, outputs=outputs)
    manifest = workflow("x", "main", leaf, arguments={"artifacts": [{"name": "data"}]})
    text = yaml.safe_dump(json.loads(json.dumps(manifest)))
    with serve(make_settings(tmp_path, lake.server, environments)) as argo:
        engine = ArgoEngine("argo", ArgoSettings(url=argo.url, settle_delay=0.2), artifacts)
        copied = await artifacts.copy(made, "argo", Progress())
        ref = await engine.submit(argo_submission(manifest=text, artifacts={"data": copied}))
        outcome = await asyncio.wait_for(engine.wait(ref, Pulse()), 60)
        await engine.close()
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"got": "17"}
    artifacts.close()


async def test_a_model_of_kfp_that_is_a_directory_has_type_metadata_and_a_digest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "a").write_bytes(b"123")
    (folder / "saved_model.pb").write_bytes(b"4")
    lines = [
        f"{key}\0{len(data)}\0{hashlib.sha256(data).hexdigest()}\n"
        for key, data in (("saved_model.pb", b"4"), ("variables/a", b"123"))
    ]
    pipeline = package(pipeline_spec(artifacts={"model": "system.Model"}))
    async with KfpStub(duration=0.0) as stub, serve_metadata() as metadata:
        engine = engine_at(stub, metadata_address=metadata.address)
        ref = await engine.submit(kfp_submission(pipeline))
        root = metadata.add_task(ref.uid, "")
        metadata.add_task(ref.uid, "train", parent=root, artifacts={"model": (folder.as_uri(), "system.Model")})
        outcome = await engine.wait(ref, Pulse())
        await engine.close()
    model = outcome.artifacts["model"]
    assert (model.uri, model.type, model.metadata) == (folder.as_uri(), "system.Model", {"framework": "sklearn"})
    assert (model.size, model.sha256) == (4, hashlib.sha256("".join(lines).encode()).hexdigest())
    assert model.etag is not None


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gs://bucket/model", 'type = "gcs"'),
        ("az://container/model", 'type = "azure"'),
        ("https://host/model", "artifacts are objects in a store"),
        ("s3:///k/model", "status.artifactRepositoryRef of the Argo workflow"),
    ],
)
async def test_what_is_in_no_store_that_we_know_is_recorded_and_refused_to_consumers(
    lake: Lake, uri: str, reason: str
) -> None:
    artifacts = lake.artifacts()
    made = await artifacts.describe("model", uri, metadata={"archive": "tar+gzip"})
    assert (made.uri, made.size, made.sha256) == (uri, None, None)
    assert not artifacts.needs_copy("argo", made), "there is nowhere to copy it from"
    with pytest.raises(ArtifactError) as caught:
        await artifacts.check(made)
    assert reason in caught.value.hint
