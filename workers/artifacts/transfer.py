"""Copies of one object from store to store: streamed, checked while they stream, resumable where the store allows.

- Up to `PART` bytes: read whole, checked, written.
- Larger, into S3 with keys that are known here: a multipart upload. One that broke off is found again and goes on; the
  source is read from its start (the digest needs every byte), but parts that are there already are not sent again.
- Larger, into any other store: obstore's streamed write, which is atomic. One that broke off starts again.

Nothing shows under its key before all of it has been checked. What is held: `WINDOW` parts, and one being read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from workers.artifacts.facts import Entry, FactReader
from workers.artifacts.multipart import Part, S3Uploads, UploadGone
from workers.artifacts.places import ObjectPlace
from workers.artifacts.signing import keys_of
from workers.artifacts.stores import Stores
from workers.settings import StoreType
from workflows.errors import ArtifactError, ArtifactStoreUnavailable

PART = 8 * 1024 * 1024
"""Bytes of a part. S3 takes no fewer than 5 MiB, and no more than 10,000 parts an object."""

WINDOW = 3
"""Parts of one object that are sent at a time."""

_SMALL, _LARGE = 8, 2
"""Objects that one process copies at a time, by size: together they hold some 150 MB at most."""

_MOST_PARTS = 9_000
_BUCKETS = 16
_TRIES = 5


@dataclass(slots=True)
class Progress:
    """How far a copy is, in bytes and objects; `abandon` ends what it has begun in the store.

    Attributes:
        total: bytes to copy; 0 until it is known.
        done: bytes that are in the consumer's store, `kept` among them.
        kept: bytes that an earlier try had brought there.
        objects: objects that are there as a whole.
    """

    total: int = 0
    done: int = 0
    kept: int = 0
    objects: int = 0
    _begun: dict[str, Callable[[], Awaitable[None]]] = field(
        default_factory=dict[str, Callable[[], Awaitable[None]]], repr=False
    )

    def begun(self, what: str, undo: Callable[[], Awaitable[None]]) -> None:
        self._begun[what] = undo

    def ended(self, what: str) -> None:
        self._begun.pop(what, None)

    async def abandon(self) -> None:
        """Forget uploads that are not complete, after a cancellation: nobody sees their parts, and they cost money."""
        while self._begun:
            _, undo = self._begun.popitem()
            await undo()


@dataclass(frozen=True, slots=True)
class Job:
    """One object to copy.

    Attributes:
        source: where it is.
        entry: what was found there; it must not have changed.
        target: where it goes; an object that is there is replaced.
        progress: told of every part.
        expected: SHA-256 that it must have; None when the caller checks.
    """

    source: ObjectPlace
    entry: Entry
    target: ObjectPlace
    progress: Progress
    expected: str | None = None

    def confirm(self, digest: str) -> None:
        """Refuse another digest than the expected one."""
        if self.expected is not None and digest != self.expected:
            raise ArtifactError(
                f"{self.source.uri} has sha256 {digest}, but {self.expected} when it was made; it was not copied",
                hint="something has overwritten it; run the step that makes it again",
            )


class Transfer:
    """Copies objects.

    Args:
        stores: both sides' stores.
        facts: reads the source.
    """

    def __init__(self, stores: Stores, facts: FactReader) -> None:
        self._stores = stores
        self._facts = facts
        self._uploads: OrderedDict[tuple[str, str], S3Uploads] = OrderedDict()
        self._small, self._large = asyncio.Semaphore(_SMALL), asyncio.Semaphore(_LARGE)

    async def copy(self, job: Job) -> str:
        """Copy one object.

        Returns:
            Its SHA-256.

        Raises:
            ArtifactError: it has another digest; nothing has been written.
            ArtifactStoreUnavailable: a store does not answer; what has been sent is kept where that is possible.
        """
        if job.entry.size <= PART:
            async with self._small:
                digest = await self._whole(job)
        else:
            async with self._large:
                uploads = self._uploads_into(job.target)
                digest = await (self._streamed(job) if uploads is None else self._in_parts(uploads, job))
        job.progress.objects += 1
        return digest

    def close(self) -> None:
        for uploads in self._uploads.values():
            uploads.close()
        self._uploads.clear()

    def _read(self, job: Job) -> AsyncGenerator[bytes]:
        return self._facts.read(self._stores.open(job.source), job.source, job.entry, part_size(job.entry.size))

    async def _whole(self, job: Job) -> str:
        async with aclosing(self._read(job)) as parts:
            data = b"".join([part async for part in parts])
        digest = hashlib.sha256(data).hexdigest()
        job.confirm(digest)
        with self._stores.errors(job.target):
            await self._stores.open(job.target).put_async(job.target.key, data)
        job.progress.done += len(data)
        return digest

    async def _streamed(self, job: Job) -> str:
        hasher = hashlib.sha256()
        progress, read = job.progress, 0

        async def checked() -> AsyncGenerator[bytes]:
            nonlocal read
            async with aclosing(self._read(job)) as parts:
                async for part in parts:
                    await asyncio.to_thread(hasher.update, part)
                    yield part
                    read += len(part)
                    progress.done += len(part)
            job.confirm(hasher.hexdigest())

        try:
            with self._stores.errors(job.target):
                await self._stores.open(job.target).put_async(
                    job.target.key, checked(), chunk_size=part_size(job.entry.size), max_concurrency=WINDOW
                )
        except BaseException:
            progress.done -= read  # nothing of it is there
            raise
        return hasher.hexdigest()

    async def _in_parts(self, uploads: S3Uploads, job: Job) -> str:
        """Go on with an upload, or begin one. Somebody who copies the same may complete it under our hands."""
        for _ in range(_TRIES):
            try:
                return await self._upload(uploads, job)
            except UploadGone:
                job.progress.ended(job.target.uri)
            listing = await self._facts.listing(job.target)
            if listing is not None and not listing.directory and listing.size == job.entry.size:
                digest = await self._facts.digest(job.target, listing)
                if job.expected in (None, digest):
                    job.progress.done += job.entry.size
                    return digest
        raise ArtifactStoreUnavailable(
            f"uploads to {job.target.uri} were ended by somebody else {_TRIES} times",
            hint="does a lifecycle rule of the bucket end uploads too early? it is tried again",
        )

    async def _upload(self, uploads: S3Uploads, job: Job) -> str:
        key, progress = job.target.key, job.progress
        found = await uploads.find(key)
        there = await uploads.parts(key, found) if found is not None else {}
        upload = found if found is not None else await uploads.begin(key)
        progress.begun(job.target.uri, lambda: uploads.abort(key, upload))
        sent: dict[int, Part] = {}
        kept = 0
        hasher = hashlib.sha256()
        window = asyncio.Semaphore(WINDOW)

        async def send(number: int, data: bytes) -> None:
            nonlocal kept
            try:
                known = there.get(number)
                md5 = await asyncio.to_thread(lambda: hashlib.md5(data, usedforsecurity=False).hexdigest())
                if known is not None and (known.size, known.etag) == (len(data), md5):
                    sent[number] = known
                    kept += len(data)
                    progress.kept += len(data)
                else:
                    sent[number] = await uploads.put(key, upload, number, data)
                progress.done += len(data)
            finally:
                window.release()

        try:
            async with asyncio.TaskGroup() as group, aclosing(self._read(job)) as parts:
                number = 0
                async for data in parts:
                    number += 1
                    await asyncio.to_thread(hasher.update, data)
                    await window.acquire()
                    group.create_task(send(number, data))
            try:
                job.confirm(hasher.hexdigest())
            except ArtifactError:
                await uploads.abort(key, upload)
                progress.ended(job.target.uri)
                raise
            await uploads.complete(key, upload, sent)
        except BaseException as error:
            progress.done -= sum(part.size for part in sent.values())
            progress.kept -= kept
            raise (error.exceptions[0] if isinstance(error, ExceptionGroup) else error) from None
        progress.ended(job.target.uri)
        return hasher.hexdigest()

    def _uploads_into(self, target: ObjectPlace) -> S3Uploads | None:
        """The bucket's multipart uploads; None where they cannot be asked for: no S3, or no keys that we know."""
        if target.scheme is not StoreType.S3:
            return None
        key = (self._stores.name_of(target), target.bucket)
        found = self._uploads.get(key)
        if found is None:
            settings = self._stores.settings(key[0])
            keys = keys_of(settings)
            if keys is None:
                return None
            found = self._uploads[key] = S3Uploads(settings, target.bucket, keys)
            if len(self._uploads) > _BUCKETS:
                self._uploads.popitem(last=False)[1].close()
        self._uploads.move_to_end(key)
        return found


def part_size(size: int) -> int:
    """Bytes of a part of an object: the same for the same object, so that a resumed upload fits its parts."""
    least = -(-size // _MOST_PARTS)
    return max(PART, -(-least // 1024**2) * 1024**2)
