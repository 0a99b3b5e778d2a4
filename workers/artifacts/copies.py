"""Copies of artifacts in the store that a consumer reads, under keys made of their content.

    STAGING/sha256/DIGEST/NAME           an object
    STAGING/tree/DIGEST/NAME/...         a prefix
    STAGING/tree/DIGEST/.NAME.copied     says that all of it is there
    STAGING/tree/DIGEST/.NAME.pages/N    while it is copied: which objects are there, `PAGE` to a page

The key holds the digest, so a copy is made once whoever asks for it, and two workers that make it at the same time
write the same bytes. A prefix that broke off goes on after its last whole page, and in the middle of a large object as
`workers.artifacts.transfer` tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from weakref import WeakValueDictionary

import obstore

from workers.artifacts.facts import PARALLEL_READS, Entry, FactReader, Listing, under
from workers.artifacts.parallel import side_by_side
from workers.artifacts.places import ObjectPlace
from workers.artifacts.stores import Stores
from workers.artifacts.transfer import Job, Progress, Transfer
from workflows.errors import ArtifactError, ArtifactStoreUnavailable

PAGE = 256
"""Objects of a prefix that are noted together."""

_DELETED_TOGETHER = 500


class Copies:
    """Finds and makes copies."""

    def __init__(self, stores: Stores, facts: FactReader, transfer: Transfer) -> None:
        self._stores = stores
        self._facts = facts
        self._transfer = transfer
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ensure(
        self, source: ObjectPlace, listing: Listing, digest: str, staging: ObjectPlace, progress: Progress
    ) -> tuple[ObjectPlace, Listing]:
        """Make sure that a copy of the source is below `staging`.

        Args:
            source: where the artifact is.
            listing: what is there.
            digest: SHA-256 of the object, or of the prefix; it must prove true.
            staging: the prefix for copies in the consumer's store.
            progress: told of what is copied.

        Returns:
            Where the copy is, and what is there.

        Raises:
            ArtifactError: the source has another digest; there is no copy then.
            ArtifactStoreUnavailable: a store does not answer; the next call goes on.
        """
        progress.total = listing.size
        kind = "tree" if listing.directory else "sha256"
        target = staging.at(f"{staging.key.rstrip('/')}/{kind}/{digest}/{source.name}")
        async with self._locks.setdefault(target.uri, asyncio.Lock()):
            found = await self._found(target, listing)
            if found is not None:
                progress.done = progress.kept = listing.size
                progress.objects = len(listing.entries)
                return target, found
            if listing.directory:
                await self._tree(source, listing, digest, target, progress)
            else:
                await self._transfer.copy(Job(source, listing.entries[0], target, progress, digest))
            found = await self._found(target, listing)
        if found is None:
            raise ArtifactStoreUnavailable(
                f"the copy of {source.uri} at {target.uri} is not whole, although all of it was sent",
                hint="does something clean up there? it is copied again",
            )
        return target, found

    async def _found(self, target: ObjectPlace, listing: Listing) -> Listing | None:
        """The copy, if there is a whole one."""
        if listing.directory and await self._get(_beside(target, "copied")) is None:
            return None
        found = await self._facts.listing(target)
        if found is None or found.directory != listing.directory:
            return None
        same = [(e.key, e.size) for e in found.entries] == [(e.key, e.size) for e in listing.entries]
        if not same and listing.directory:
            await self._delete(_beside(target, "copied"))
        return found if same else None

    async def _tree(
        self, source: ObjectPlace, listing: Listing, digest: str, target: ObjectPlace, progress: Progress
    ) -> None:
        hasher = hashlib.sha256()
        pages = range(0, len(listing.entries), PAGE)
        there = {e.key: e.size for e in before.entries} if (before := await self._facts.listing(target)) else {}
        for start in pages:
            entries = listing.entries[start : start + PAGE]
            place = _page(target, start // PAGE)
            lines = await self._get(place)
            if lines is not None and _fits(lines, entries) and all(there.get(e.key) == e.size for e in entries):
                size = sum(entry.size for entry in entries)
                progress.done += size
                progress.kept += size
                progress.objects += len(entries)
            else:
                lines = await self._objects(source, entries, target, progress)
                await self._put(place, lines)
            hasher.update(lines)
        if hasher.hexdigest() != digest:
            await self._forget(target, len(pages))
            raise ArtifactError(
                f"{source.uri} has the digest {hasher.hexdigest()}, but {digest} when it was made; it was not copied",
                hint="something has been changed below it; run the step that makes it again",
            )
        for key in there.keys() - {entry.key for entry in listing.entries}:
            await self._delete(under(target, Entry(key, 0, "")))  # of an earlier try, of a source that was not as it is
        await self._put(_beside(target, "copied"), json.dumps({"objects": len(listing.entries)}).encode())
        for number in range(len(pages)):
            await self._delete(_page(target, number))

    async def _objects(
        self, source: ObjectPlace, entries: list[Entry], target: ObjectPlace, progress: Progress
    ) -> bytes:
        """Copy objects side by side; gives their lines in the digest of the prefix."""
        digests: dict[str, str] = {}
        left = iter(entries)

        async def work() -> None:
            for entry in left:
                job = Job(under(source, entry), entry, under(target, entry), progress)
                digests[entry.key] = await self._transfer.copy(job)

        await side_by_side(work, min(PARALLEL_READS, len(entries)))
        return "".join(f"{e.key}\0{e.size}\0{digests[e.key]}\n" for e in entries).encode()

    async def _forget(self, target: ObjectPlace, pages: int) -> None:
        """Delete a copy that is not what its key says."""
        for number in range(pages):
            await self._delete(_page(target, number))
        store = self._stores.open(target)
        with self._stores.errors(target):
            keys: list[str] = []
            async for page in obstore.list(store, prefix=target.key + "/"):
                keys += [entry["path"] for entry in page]
            for start in range(0, len(keys), _DELETED_TOGETHER):
                await store.delete_async(keys[start : start + _DELETED_TOGETHER])

    async def _get(self, place: ObjectPlace) -> bytes | None:
        with self._stores.errors(place):
            try:
                found = await self._stores.open(place).get_async(place.key)
                return bytes(await found.bytes_async())
            except FileNotFoundError:
                return None

    async def _put(self, place: ObjectPlace, data: bytes) -> None:
        with self._stores.errors(place):
            await self._stores.open(place).put_async(place.key, data)

    async def _delete(self, place: ObjectPlace) -> None:
        with self._stores.errors(place):
            try:
                await self._stores.open(place).delete_async(place.key)
            except FileNotFoundError:
                pass


def _beside(target: ObjectPlace, word: str) -> ObjectPlace:
    folder, _, name = target.key.rpartition("/")
    return target.at(f"{folder}/.{name}.{word}")


def _page(target: ObjectPlace, number: int) -> ObjectPlace:
    place = _beside(target, "pages")
    return place.at(f"{place.key}/{number:06}")


def _fits(lines: bytes, entries: list[Entry]) -> bool:
    """Whether a page is about these objects."""
    noted = [line.rsplit("\0", 1)[0] for line in lines.decode(errors="replace").split("\n")[:-1]]
    return noted == [f"{entry.key}\0{entry.size}" for entry in entries]
