"""Facts about objects, and the check before a consumer depends on one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import SecretStr

from workers.artifacts import CHUNK, ArtifactStore, ObjectFacts, ObjectPlace, parse_uri
from workers.settings import StoreSettings
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
    assert await store.stat(file.as_uri()) == ObjectFacts(size=10, sha256=digest)
    assert await store.stat(file.as_uri(), digest=False) == ObjectFacts(size=10, sha256=None)


async def test_a_large_object_is_hashed_in_pieces(store: ArtifactStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (3 * CHUNK // 256) + b"tail"
    (tmp_path / "large").write_bytes(data)
    facts = await store.stat((tmp_path / "large").as_uri())
    assert facts == ObjectFacts(size=len(data), sha256=hashlib.sha256(data).hexdigest())


async def test_a_prefix_has_the_sum_of_sizes_and_no_digest(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "a").write_bytes(b"123")
    (tmp_path / "model" / "deep" / "b").write_bytes(b"4567")
    (tmp_path / "model-2").write_bytes(b"not ours")
    for uri in ((tmp_path / "model").as_uri(), (tmp_path / "model").as_uri() + "/"):
        assert await store.stat(uri) == ObjectFacts(size=7, sha256=None, objects=2)


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


async def test_a_store_that_does_not_answer_is_named() -> None:
    settings = StoreSettings(endpoint="http://127.0.0.1:1", access_key=SecretStr("a"), secret_key=SecretStr("b"))
    with pytest.raises(ArtifactError, match=r"http://127\.0\.0\.1:1 could not be asked for s3://bucket/key"):
        await ArtifactStore(settings).stat("s3://bucket/key")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a/b c", ObjectPlace("s3", "bucket", "a/b c")),
        ("s3://bucket/a?b#c", ObjectPlace("s3", "bucket", "a?b#c")),
        ("minio://mlpipeline/v2/x", ObjectPlace("s3", "mlpipeline", "v2/x")),
        ("file:///tmp/a%20b", ObjectPlace("file", "/tmp", "a b")),
    ],
)
def test_uris_are_taken_apart(uri: str, place: ObjectPlace) -> None:
    assert parse_uri(uri) == place


@pytest.mark.parametrize("uri", ["", "s3://bucket", "s3://bucket/", "/tmp/x", "https://host/x", "gs://b/k"])
def test_what_is_no_object_is_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="is not the address of an object"):
        parse_uri(uri)
