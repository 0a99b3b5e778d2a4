"""The artifact store: facts about objects that engine runs wrote, read from S3 (or from files, in tests).

Objects are streamed, never held: memory is bounded by one chunk a call. One store object is kept per bucket.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from workers.settings import StoreSettings
from workflows.errors import ArtifactError, ArtifactStoreUnavailable
from workflows.outcome import Artifact
from workflows.values import JsonObject

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
"""Bytes that are held of an object while it is hashed."""

_BUCKETS = 64
_PARALLEL_READS = 8


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store knows of a URI.

    Attributes:
        size: bytes; of a prefix the sum over its objects.
        sha256: hex digest; None for a prefix.
        objects: 1, or how many objects are under the prefix.
    """

    size: int
    sha256: str | None
    objects: int = 1


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A URI taken apart: `s3://bucket/key` or `file:///folder/name`."""

    scheme: str
    bucket: str
    key: str


def parse_uri(uri: str) -> ObjectPlace:
    """Take an artifact's URI apart.

    `minio://` is what KFP writes for the object store that it installs itself; it speaks S3.

    Raises:
        ArtifactError: not a URI of a store that we can read.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme in ("s3", "minio") and parts.netloc and parts.path.strip("/"):
        query = f"?{parts.query}" if parts.query else ""
        return ObjectPlace("s3", parts.netloc, parts.path.removeprefix("/") + query)
    if parts.scheme == "file" and parts.path.strip("/"):
        path = PurePosixPath(unquote(parts.path))
        return ObjectPlace("file", str(path.parent), path.name)
    raise ArtifactError(
        f"'{uri}' is not the address of an object", hint="artifacts are objects in an S3 store: s3://bucket/key"
    )


def s3_uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key.lstrip('/')}"


class ArtifactStore:
    """Reads the object store that all engines of an installation share.

    Args:
        settings: endpoint and credentials; one set for all buckets.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._stores: OrderedDict[tuple[str, str], S3Store | LocalStore] = OrderedDict()
        self._reads = asyncio.Semaphore(_PARALLEL_READS)

    async def stat(self, uri: str, *, digest: bool = True) -> ObjectFacts | None:
        """Look at an object, or at the prefix of this name when there is no such object.

        Args:
            uri: `s3://bucket/key`.
            digest: read the object through and hash it; else only its size is asked for.

        Returns:
            None when there is neither an object nor a prefix.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses.
        """
        place = parse_uri(uri)
        try:
            async with self._reads:
                return await self._stat(place, digest)
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ArtifactError(
                f"the object store refuses to show {uri}: {_first(error)}",
                hint="check [objects] access_key and secret_key in meta.toml, and the bucket's policy",
            ) from error
        except BaseError as error:
            raise ArtifactStoreUnavailable(
                f"the object store at {self.settings.endpoint or 'AWS'} could not be asked for {uri}: {_first(error)}",
                hint="check [objects] endpoint in meta.toml, and that the store is up",
            ) from error

    async def describe(
        self, name: str, uri: str, *, type: str = "", producer: str = "", metadata: JsonObject | None = None
    ) -> Artifact:
        """Make the record of an artifact, with its size and digest.

        What cannot be read is recorded without them: the engine run is over and what it said must be kept.
        `check` is strict, before somebody depends on the object.
        """
        size: int | None = None
        sha256: str | None = None
        try:
            facts = await self.stat(uri)
        except ArtifactError as error:
            log.warning("artifact '%s' is recorded without size and digest: %s", name, error.message)
        else:
            if facts is None:
                log.warning("artifact '%s' is recorded without size and digest: nothing is at %s", name, uri)
            else:
                size, sha256 = facts.size, facts.sha256
        return Artifact(
            name=name, uri=uri, sha256=sha256, size=size, type=type, producer=producer, metadata=metadata or {}
        )

    async def check(self, artifact: Artifact) -> None:
        """Make sure that a consumer will find what the producer wrote.

        Raises:
            ArtifactError: it is gone, unreadable, or of another size or digest; names the URI and the producer.
        """
        source = f"step '{artifact.producer}'" if artifact.producer else "outside this run"
        what = f"artifact '{artifact.name}' at {artifact.uri} (from {source})"
        facts = await self.stat(artifact.uri, digest=artifact.sha256 is not None)
        if facts is None:
            raise ArtifactError(
                f"{what} does not exist",
                hint="has it been cleaned up? run the step that makes it again, or correct the address",
            )
        if artifact.size is not None and facts.size != artifact.size:
            raise ArtifactError(
                f"{what} has {facts.size} bytes, but {artifact.size} when it was made",
                hint="something has overwritten it; run the step that makes it again",
            )
        if artifact.sha256 is not None and facts.sha256 != artifact.sha256:
            raise ArtifactError(
                f"{what} has sha256 {facts.sha256}, but {artifact.sha256} when it was made",
                hint="something has overwritten it; run the step that makes it again",
            )

    async def _stat(self, place: ObjectPlace, digest: bool) -> ObjectFacts | None:
        store = self._store(place)
        try:
            if not place.key.endswith("/"):
                if not digest:
                    return ObjectFacts(size=(await store.head_async(place.key))["size"], sha256=None)
                found = await store.get_async(place.key)
                hasher = hashlib.sha256()
                size = 0
                async for chunk in found.stream(min_chunk_size=CHUNK):
                    hasher.update(chunk)
                    size += len(chunk)
                return ObjectFacts(size=size, sha256=hasher.hexdigest())
        except FileNotFoundError:
            log.debug("%s is no object; looking for a prefix of that name", place)
        size, count = 0, 0
        async for page in obstore.list(store, prefix=place.key.rstrip("/") + "/"):
            size += sum(entry["size"] for entry in page)
            count += len(page)
        return ObjectFacts(size=size, sha256=None, objects=count) if count else None

    def _store(self, place: ObjectPlace) -> S3Store | LocalStore:
        key = (place.scheme, place.bucket)
        store = self._stores.get(key)
        if store is None:
            store = LocalStore(place.bucket) if place.scheme == "file" else self._s3(place.bucket)
            self._stores[key] = store
            if len(self._stores) > _BUCKETS:
                self._stores.popitem(last=False)
        self._stores.move_to_end(key)
        return store

    def _s3(self, bucket: str) -> S3Store:
        settings = self.settings
        config: S3Config = {"bucket": bucket, "region": settings.region}
        client: ClientConfig = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=10)}
        if settings.endpoint is not None:
            config["endpoint"] = settings.endpoint
            config["virtual_hosted_style_request"] = False
            client["allow_http"] = settings.endpoint.startswith("http://")
        if settings.access_key is not None and settings.secret_key is not None:
            config["access_key_id"] = settings.access_key.get_secret_value()
            config["secret_access_key"] = settings.secret_key.get_secret_value()
        return S3Store(
            config=config,
            client_options=client,
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        )


def file_uri(path: str) -> str:
    """The URI of a local file, as the tests use it."""
    return "file://" + quote(path)


def _first(error: BaseError) -> str:
    """The first line: obstore adds pages of its own internals."""
    return str(error).partition("\n")[0]
