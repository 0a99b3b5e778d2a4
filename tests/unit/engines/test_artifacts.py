"""Facts about objects, and the check before a consumer depends on one."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from workers.artifacts import ArtifactStore, ObjectFacts, ObjectPlace, parse_uri
from workers.artifacts.facts import RANGE
from workers.artifacts.store import ALWAYS_READ
from workers.settings import StoreSettings, StoreType
from workflows.errors import ArtifactError
from workflows.outcome import Artifact


@pytest.fixture
def store() -> ArtifactStore:
    return ArtifactStore(StoreSettings())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my data.npz"
    path.write_bytes(b"0123456789")
    return path


async def test_an_object_has_size_and_digest(store: ArtifactStore, file: Path) -> None:
    digest = hashlib.sha256(b"0123456789").hexdigest()
    facts = await store.stat(file.as_uri())
    assert facts == ObjectFacts(size=10, sha256=digest, etag=facts.etag if facts else "")
    assert facts is not None
    assert facts.etag
    assert await store.stat(file.as_uri(), digest=False) == replace(facts, sha256=None)


async def test_a_large_object_is_hashed_in_pieces(store: ArtifactStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (3 * RANGE // 256) + b"tail"
    (tmp_path / "large").write_bytes(data)
    facts = await store.stat((tmp_path / "large").as_uri())
    assert facts is not None
    assert (facts.size, facts.sha256) == (len(data), hashlib.sha256(data).hexdigest())


async def test_a_prefix_has_the_sum_of_sizes_and_a_digest_over_its_sorted_objects(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "a").write_bytes(b"123")
    (tmp_path / "model" / "deep" / "b").write_bytes(b"4567")
    (tmp_path / "model-2").write_bytes(b"not ours")
    lines = [
        f"{key}\0{len(data)}\0{hashlib.sha256(data).hexdigest()}\n"
        for key, data in (("a", b"123"), ("deep/b", b"4567"))
    ]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    for uri in ((tmp_path / "model").as_uri(), (tmp_path / "model").as_uri() + "/"):
        facts = await store.stat(uri)
        assert facts is not None
        assert (facts.size, facts.sha256, facts.objects, facts.directory) == (7, digest, 2, True)


async def test_nothing_there_is_none(store: ArtifactStore, tmp_path: Path) -> None:
    assert await store.stat((tmp_path / "nothing").as_uri()) is None


async def test_describing_keeps_what_the_engine_said_even_when_the_object_is_gone(
    store: ArtifactStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = (tmp_path / "gone").as_uri()
    assert await store.describe("model", uri, type="system.Model") == Artifact(
        name="model", uri=uri, type="system.Model"
    )
    assert "nothing is at" in caplog.text
    assert (await store.describe("odd", "gs://bucket/key")).sha256 is None


async def test_a_check_passes_what_is_as_it_was(store: ArtifactStore, file: Path) -> None:
    await store.check(await store.describe("data", file.as_uri()))
    await store.check(Artifact(name="data", uri=file.as_uri()))


async def test_a_check_names_uri_and_producer_of_what_is_gone(store: ArtifactStore, file: Path) -> None:
    artifact = await store.describe("data", file.as_uri(), producer="prepare")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"my%20data\.npz \(from step 'prepare'\) does not exist"):
        await store.check(artifact)


async def test_a_check_notices_another_size(store: ArtifactStore, file: Path) -> None:
    artifact = await store.describe("data", file.as_uri())
    file.write_bytes(b"short")
    with pytest.raises(ArtifactError, match="has 5 bytes, but 10 when it was made"):
        await store.check(artifact)


async def test_a_check_notices_other_bytes_of_the_same_size(store: ArtifactStore, file: Path) -> None:
    artifact = await store.describe("data", file.as_uri())
    file.write_bytes(b"9876543210")
    with pytest.raises(ArtifactError, match="has sha256"):
        await store.check(artifact)


async def test_a_check_notices_a_change_in_a_prefix(store: ArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_bytes(b"123")
    artifact = await store.describe("model", folder.as_uri())
    await store.check(artifact)
    (folder / "a").rename(folder / "b")
    with pytest.raises(ArtifactError, match="has sha256"):
        await store.check(artifact)


async def test_a_large_object_is_believed_by_its_mark_and_read_when_that_has_changed(
    store: ArtifactStore, tmp_path: Path
) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * (ALWAYS_READ + 1))
    artifact = await store.describe("data", file.as_uri())
    await store.check(artifact.model_copy(update={"sha256": "00"}))  # would be refused if it were read
    os.utime(file, ns=(1, 1))
    await store.check(artifact)
    with pytest.raises(ArtifactError, match="has sha256"):
        await store.check(artifact.model_copy(update={"sha256": "00"}))
    with pytest.raises(ArtifactError, match="has sha256"):
        await store.check(artifact.model_copy(update={"sha256": "00", "etag": None}))


async def test_more_objects_than_can_be_held_are_refused(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.artifacts.facts.MAX_OBJECTS", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match="more than 2 objects under"):
        await store.stat(tmp_path.as_uri() + "/")


async def test_a_store_that_does_not_answer_is_named() -> None:
    settings = StoreSettings(endpoint="http://127.0.0.1:1", access_key=SecretStr("a"), secret_key=SecretStr("b"))
    with pytest.raises(ArtifactError, match=r"http://127\.0\.0\.1:1 could not be asked for s3://bucket/key"):
        await ArtifactStore(settings).stat("s3://bucket/key")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a/b c", ObjectPlace(StoreType.S3, "bucket", "a/b c")),
        ("s3://bucket/a?b#c", ObjectPlace(StoreType.S3, "bucket", "a?b#c")),
        ("minio://mlpipeline/v2/x", ObjectPlace(StoreType.S3, "mlpipeline", "v2/x")),
        ("gs://bucket/a/b", ObjectPlace(StoreType.GCS, "bucket", "a/b")),
        ("az://container/a/b", ObjectPlace(StoreType.AZURE, "container", "a/b")),
        ("file:///tmp/a%20b", ObjectPlace(StoreType.FILE, "/tmp", "a b")),
    ],
)
def test_uris_are_taken_apart(uri: str, place: ObjectPlace) -> None:
    assert parse_uri(uri) == place
    assert parse_uri(place.uri) == place


@pytest.mark.parametrize("uri", ["", "s3://bucket", "s3://bucket/", "/tmp/x", "https://host/x", "gs://b"])
def test_what_is_no_object_is_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="is not the address of an object"):
        parse_uri(uri)
