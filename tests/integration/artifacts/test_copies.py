"""Copies between two real S3 servers: found again, resumed after a break, checked, and nothing left when wrong."""

from __future__ import annotations

import asyncio
import hashlib

import obstore
import pytest

from tests.integration.artifacts.conftest import LAKE, PARTS, Lake, name, settings_of, some_bytes
from tests.support.objects import BUCKET
from tests.support.proxy import proxy
from workers.artifacts import ArtifactStore, Progress
from workers.artifacts.copies import PAGE
from workers.artifacts.multipart import S3Uploads
from workers.artifacts.signing import Keys
from workers.artifacts.transfer import PART, WINDOW
from workflows.errors import ArtifactError, ArtifactStoreUnavailable
from workflows.outcome import Artifact


def keys_below(lake: Lake, prefix: str = "") -> list[str]:
    start = lake.staging.removeprefix(f"s3://{BUCKET}/") + "/" + prefix
    return sorted(
        entry["path"].removeprefix(start) for page in obstore.list(lake.server.store(), prefix=start) for entry in page
    )


async def open_uploads(lake: Lake, key: str) -> str | None:
    uploads = S3Uploads(settings_of(lake.server), BUCKET, Keys(lake.server.access_key, lake.server.secret_key))
    try:
        return await uploads.find(key)
    finally:
        uploads.close()


async def test_a_small_object_is_copied_under_a_key_of_its_content_and_found_again(lake: Lake) -> None:
    uri = lake.common.put(f"{name()}/data.csv", b"1,2\n")
    artifacts = lake.artifacts()
    made = await artifacts.describe("data", uri, producer="prepare")
    assert artifacts.needs_copy("argo", made)
    copied = await artifacts.copy(made, "argo", Progress())
    digest = hashlib.sha256(b"1,2\n").hexdigest()
    assert copied.uri == f"{lake.staging}/sha256/{digest}/data.csv"
    assert lake.read(copied.uri) == b"1,2\n"
    assert (copied.sha256, copied.size, copied.producer) == (digest, 4, "prepare")
    assert copied.metadata["copied_from"] == uri
    assert not artifacts.needs_copy("argo", copied)
    await artifacts.check(copied)
    again = Progress()
    assert await artifacts.copy(made, "argo", again) == copied
    assert again.kept == 4
    unknown = Artifact(name="data", uri=uri)  # an address from outside: hashed first
    assert (await artifacts.copy(unknown, "argo", Progress())).uri == copied.uri
    artifacts.close()


async def test_a_large_object_is_copied_in_parts_and_its_copy_is_whole(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    artifact, data = large
    artifacts = lake.artifacts()
    progress = Progress()
    copied = await artifacts.copy(artifact, "argo", progress)
    assert lake.read(copied.uri) == data
    assert (progress.done, progress.kept, progress.total, progress.objects) == (len(data), 0, len(data), 1)
    assert copied.etag is not None
    await artifacts.check(copied)
    artifacts.close()


async def test_a_store_that_dies_in_the_middle_of_a_copy_is_sent_only_the_parts_that_it_lacks(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    artifact, data = large
    async with proxy(lake.server.endpoint) as link:
        first = lake.artifacts(link.url)
        link.break_after(6 * PART)
        with pytest.raises(ArtifactStoreUnavailable):
            await first.copy(artifact, "argo", Progress())
        first.close()
        assert link.down.is_set()
        assert keys_below(lake) == []
        await link.mend()
        sent = link.sent
        second = lake.artifacts(link.url)  # another worker, that knows nothing of the first
        progress = Progress()
        copied = await second.copy(artifact, "argo", progress)
        second.close()
    assert lake.read(copied.uri) == data
    assert progress.kept >= (6 - WINDOW) * PART
    in_flight = WINDOW * PART  # the first worker's own tries again, that ended only after the mend
    assert link.sent - sent < len(data) - progress.kept + in_flight + PART // 2
    assert (progress.done, progress.total) == (len(data), len(data))


async def test_parts_of_a_broken_upload_that_are_not_of_these_bytes_are_sent_again(
    lake: Lake, large: tuple[Artifact, bytes]
) -> None:
    artifact, data = large
    key = f"{lake.staging}/sha256/{artifact.sha256}/model.npz".removeprefix(f"s3://{BUCKET}/")
    uploads = S3Uploads(settings_of(lake.server), BUCKET, Keys(lake.server.access_key, lake.server.secret_key))
    upload = await uploads.begin(key)
    await uploads.put(key, upload, 1, b"x" * PART)
    await uploads.put(key, upload, 2, data[PART : 2 * PART])
    artifacts = lake.artifacts()
    progress = Progress()
    copied = await artifacts.copy(artifact, "argo", progress)
    assert progress.kept == PART
    assert lake.read(copied.uri) == data
    artifacts.close()
    uploads.close()


async def test_two_workers_that_copy_the_same_at_once_do_no_harm(lake: Lake, large: tuple[Artifact, bytes]) -> None:
    artifact, data = large
    workers = [lake.artifacts(), lake.artifacts()]
    first, second = await asyncio.gather(*(each.copy(artifact, "argo", Progress()) for each in workers))
    assert first.uri == second.uri
    assert lake.read(first.uri) == data
    for each in workers:
        await each.check(first)
        each.close()


async def test_an_upload_that_is_ended_by_somebody_else_is_begun_again(
    lake: Lake, large: tuple[Artifact, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = large
    put, aborted = S3Uploads.put, list[str]()

    async def put_and_abort(self: S3Uploads, key: str, upload: str, number: int, part: bytes) -> object:
        if number == PARTS // 2 and not aborted:
            aborted.append(upload)
            await self.abort(key, upload)
        return await put(self, key, upload, number, part)

    monkeypatch.setattr(S3Uploads, "put", put_and_abort)
    artifacts = lake.artifacts()
    progress = Progress()
    copied = await artifacts.copy(artifact, "argo", progress)
    assert aborted
    assert lake.read(copied.uri) == data
    assert (progress.done, progress.kept) == (len(data), 0)
    artifacts.close()


async def test_bytes_that_are_not_what_the_digest_says_never_show(lake: Lake, large: tuple[Artifact, bytes]) -> None:
    artifact, data = large
    small_uri = lake.common.put(f"{name()}/small", b"new")
    folder = name()
    lake.common.put(f"{folder}/a", b"new")
    artifacts = lake.artifacts()
    wrong = [
        artifact.model_copy(update={"sha256": "1" * 64}),
        Artifact(name="small", uri=small_uri, sha256="2" * 64),
        Artifact(name="tree", uri=f"s3://{BUCKET}/{folder}", sha256="3" * 64),
    ]
    for each in wrong:
        with pytest.raises(ArtifactError, match=r"when it was made; it was not copied") as caught:
            await artifacts.copy(each, "argo", Progress())
        assert not caught.value.retryable
        key = f"{lake.staging}/sha256/{each.sha256}/model.npz".removeprefix(f"s3://{BUCKET}/")
        assert await open_uploads(lake, key) is None
    assert keys_below(lake) == []
    assert data
    artifacts.close()


async def test_what_is_gone_or_of_another_size_is_not_copied(lake: Lake) -> None:
    uri = lake.common.put(f"{name()}/data", b"1234")
    artifacts = lake.artifacts()
    with pytest.raises(ArtifactError, match=r"'gone' at s3://meta/none/\w+ \(from step 'prepare'\) does not exist"):
        await artifacts.copy(
            Artifact(name="gone", uri=f"s3://meta/none/{name()}", producer="prepare"), "argo", Progress()
        )
    with pytest.raises(ArtifactError, match="has 4 bytes, but 5 when it was made"):
        await artifacts.copy(Artifact(name="data", uri=uri, size=5), "argo", Progress())


async def test_a_store_that_has_no_place_for_copies_is_named(lake: Lake) -> None:
    uri = lake.server.put(f"lake/{name()}", b"x")
    artifacts = lake.artifacts()
    made = Artifact(name="data", uri=uri)
    assert artifacts.needs_copy("unknown", made)
    with pytest.raises(ArtifactError, match="there is no place to copy it to") as caught:
        await artifacts.copy(made, "unknown", Progress())
    assert "set staging of [objects]" in caught.value.hint


async def test_a_directory_is_copied_with_its_digest_and_found_again(lake: Lake) -> None:
    folder = name()
    files = {"a.txt": b"1", "a/b": b"22", "z/deep/c.bin": some_bytes(2 * PART + 5), "empty": b""}
    for key, data in files.items():
        lake.common.put(f"{folder}/{key}", data)
    artifacts = lake.artifacts()
    made = await artifacts.describe("model", f"s3://{BUCKET}/{folder}", type="system.Model")
    progress = Progress()
    copied = await artifacts.copy(made, "argo", progress)
    assert copied.uri == f"{lake.staging}/tree/{made.sha256}/{folder}"
    assert {key: lake.read(f"{copied.uri}/{key}") for key in files} == files
    assert (progress.objects, progress.done, progress.kept) == (4, made.size, 0)
    assert (copied.sha256, copied.size, copied.type) == (made.sha256, made.size, "system.Model")
    facts = await artifacts.stat(copied.uri)
    assert facts is not None
    assert (facts.sha256, facts.etag) == (made.sha256, copied.etag)
    assert [key for key in keys_below(lake, f"tree/{made.sha256}") if key.startswith("/.")] == [f"/.{folder}.copied"]
    again = Progress()
    assert await artifacts.copy(made, "argo", again) == copied
    assert again.kept == made.size
    obstore.delete(lake.server.store(), f"{copied.uri}/a.txt".removeprefix(f"s3://{BUCKET}/"))
    assert await artifacts.copy(made, "argo", Progress()) == copied, "a copy that somebody has cleaned up is mended"
    artifacts.close()


async def test_a_directory_goes_on_after_its_last_whole_page(lake: Lake) -> None:
    folder, count = name(), 3 * PAGE
    store = lake.common.store()
    await asyncio.gather(*(store.put_async(f"{folder}/{n:04}", b"x" * 2000) for n in range(count)))
    made = await lake.artifacts().describe("many", f"s3://{BUCKET}/{folder}")
    async with proxy(lake.server.endpoint) as link:
        first = lake.artifacts(link.url)
        await first.stat(lake.staging, digest=False)
        link.break_after(int(PAGE * 1.7 * 2600))
        with pytest.raises(ArtifactStoreUnavailable):
            await asyncio.wait_for(first.copy(made, "argo", Progress()), 120)
        await link.mend()
        second = lake.artifacts(link.url)
        progress = Progress()
        copied = await second.copy(made, "argo", progress)
    assert progress.kept >= PAGE * 2000
    assert progress.kept % (PAGE * 2000) == 0
    assert (progress.objects, progress.done) == (count, made.size)
    assert copied.sha256 == made.sha256
    facts = await lake.artifacts().stat(copied.uri)
    assert facts is not None
    assert facts.sha256 == made.sha256


async def test_a_copy_that_nobody_wants_any_more_leaves_no_upload(
    lake: Lake, large: tuple[Artifact, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, _ = large
    put, reached = S3Uploads.put, asyncio.Event()

    async def put_and_tell(self: S3Uploads, key: str, upload: str, number: int, part: bytes) -> object:
        if number == PARTS // 2:
            reached.set()
        return await put(self, key, upload, number, part)

    monkeypatch.setattr(S3Uploads, "put", put_and_tell)
    artifacts = lake.artifacts()
    progress = Progress()
    copying = asyncio.create_task(artifacts.copy(artifact, "argo", progress))
    await reached.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    key = f"{lake.staging}/sha256/{artifact.sha256}/model.npz".removeprefix(f"s3://{BUCKET}/")
    assert await open_uploads(lake, key) is not None, "a worker that stops leaves its parts to the next one"
    await progress.abandon()
    assert await open_uploads(lake, key) is None
    artifacts.close()


async def test_without_keys_that_we_know_a_large_object_is_streamed_and_checked(
    lake: Lake, large: tuple[Artifact, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = large
    monkeypatch.setattr("workers.artifacts.transfer.keys_of", lambda _settings: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    artifacts = lake.artifacts()
    with pytest.raises(ArtifactError, match="when it was made; it was not copied"):
        await artifacts.copy(artifact.model_copy(update={"sha256": "4" * 64}), "argo", Progress())
    assert keys_below(lake) == []
    progress = Progress()
    copied = await artifacts.copy(artifact, "argo", progress)
    assert lake.read(copied.uri) == data
    assert progress.done == len(data)


async def test_the_lake_is_a_store_of_its_own(lake: Lake) -> None:
    uri = lake.server.put(f"lake/{name()}", b"here")
    assert uri.startswith(LAKE)
    artifacts: ArtifactStore = lake.artifacts()
    facts = await artifacts.stat(uri)
    assert facts is not None
    assert facts.size == 4
    with pytest.raises(FileNotFoundError):
        lake.common.read(uri)
