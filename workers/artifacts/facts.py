"""Facts about objects and prefixes: size, digest, the store's own mark of the version.

The digest of a prefix is the SHA-256 over one line for each object, sorted by key: the key relative to the prefix, a
NUL, the size, a NUL, the object's SHA-256, a line feed. Its mark is the same over the objects' marks.
Objects are read in ranges of `RANGE` bytes and never held; names and sizes under a prefix are, so there is a most.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore

from workers.artifacts.parallel import side_by_side
from workers.artifacts.places import ObjectPlace
from workers.artifacts.stores import Store, Stores
from workflows.errors import ArtifactError

if TYPE_CHECKING:
    from obstore import GetOptions

RANGE = 4 * 1024 * 1024
"""Bytes that are held of an object while it is read."""

MAX_OBJECTS = 200_000
"""Most objects under a prefix that is an artifact: their names are held, about 400 bytes each."""

PARALLEL_READS = 8
"""Objects that one process reads at a time."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store knows of a URI.

    Attributes:
        size: bytes; of a prefix the sum over its objects.
        sha256: hex digest; None when it was not asked for.
        objects: 1, or how many objects are under the prefix.
        directory: whether it is a prefix.
        etag: the store's mark of this version; of a prefix the digest over its objects' marks.
    """

    size: int
    sha256: str | None
    objects: int = 1
    directory: bool = False
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An object under a prefix. `key` is relative to it, `etag` empty when the store gives none."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What is at a place: one object (whose key is empty), or the sorted objects of a prefix."""

    entries: list[Entry]
    directory: bool

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @property
    def etag(self) -> str | None:
        if any(not entry.etag for entry in self.entries):
            return None
        if not self.directory:
            return self.entries[0].etag
        return tree_digest((entry.key, entry.size, entry.etag) for entry in self.entries)

    def facts(self, sha256: str | None) -> ObjectFacts:
        return ObjectFacts(self.size, sha256, len(self.entries), self.directory, self.etag)


class FactReader:
    """Looks at objects. Reads of all callers share `PARALLEL_READS` places."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._reads = asyncio.Semaphore(PARALLEL_READS)

    async def listing(self, place: ObjectPlace) -> Listing | None:
        """The object of this name, else the prefix of this name; None when there is neither.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses, or there are more than `MAX_OBJECTS` objects.
        """
        store = self._stores.open(place)
        with self._stores.errors(place):
            if not place.key.endswith("/"):
                try:
                    found = await store.head_async(place.key)
                    return Listing([Entry("", found["size"], found["e_tag"] or "")], directory=False)
                except FileNotFoundError:
                    pass  # it may be a prefix
            entries = await _entries(store, place)
        return Listing(entries, directory=True) if entries else None

    async def digest(self, place: ObjectPlace, listing: Listing) -> str:
        """Read everything of a listing and hash it.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses, or something has changed since it was listed.
        """
        store = self._stores.open(place)
        if not listing.directory:
            return await self._hash(store, place, listing.entries[0])
        digests: dict[str, str] = {}
        left = iter(listing.entries)

        async def work() -> None:
            for entry in left:
                digests[entry.key] = await self._hash(store, under(place, entry), entry)

        await side_by_side(work, min(PARALLEL_READS, len(listing.entries)))
        return tree_digest((entry.key, entry.size, digests[entry.key]) for entry in listing.entries)

    async def _hash(self, store: Store, place: ObjectPlace, entry: Entry) -> str:
        hasher = hashlib.sha256()
        async with self._reads:
            async with aclosing(self.read(store, place, entry, RANGE)) as parts:
                async for part in parts:
                    hasher.update(part)
        return hasher.hexdigest()

    async def read(self, store: Store, place: ObjectPlace, entry: Entry, part: int) -> AsyncGenerator[bytes]:
        """Read an object in ranges of `part` bytes, each a request of its own that is repeated by itself.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses, or the object is not the one that was listed.
        """
        options: GetOptions = {"if_match": entry.etag} if entry.etag else {}
        for start in range(0, entry.size, part):
            end = min(start + part, entry.size)
            with self._stores.errors(place):
                try:
                    found = await store.get_async(place.key, options={**options, "range": (start, end)})
                    data = bytes(await found.bytes_async())
                except FileNotFoundError as error:
                    raise _gone(place) from error
            if len(data) != end - start:
                raise _gone(place)
            yield data


def under(place: ObjectPlace, entry: Entry) -> ObjectPlace:
    """Where an entry of a listing is."""
    return place.at(f"{place.key.rstrip('/')}/{entry.key}") if entry.key else place


def tree_digest(lines: Iterable[tuple[str, int, str]]) -> str:
    """The digest of a prefix, of (relative key, size, digest) in the order of the keys."""
    hasher = hashlib.sha256()
    for key, size, digest in lines:
        hasher.update(f"{key}\0{size}\0{digest}\n".encode())
    return hasher.hexdigest()


async def _entries(store: Store, place: ObjectPlace) -> list[Entry]:
    prefix = place.key.rstrip("/") + "/"
    entries: list[Entry] = []
    async for page in obstore.list(store, prefix=prefix):
        for found in page:
            key = found["path"].removeprefix(prefix)
            if key and key != found["path"]:  # the marker that some clients write for a folder is no object of it
                entries.append(Entry(key, found["size"], found["e_tag"] or ""))
        if len(entries) > MAX_OBJECTS:
            raise ArtifactError(
                f"there are more than {MAX_OBJECTS:,} objects under {place.uri}",
                hint="pack them into an archive; or pass the address as a parameter, unchecked",
            )
    return sorted(entries, key=lambda entry: entry.key)


def _gone(place: ObjectPlace) -> ArtifactError:
    return ArtifactError(f"{place.uri} has changed while it was read", hint="something else writes or cleans up there")
