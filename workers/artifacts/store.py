"""The face of the artifact stores: describe what an engine run wrote, check it before use, copy it if need be."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from workers.artifacts.copies import Copies
from workers.artifacts.facts import FactReader, Listing, ObjectFacts
from workers.artifacts.places import ObjectPlace, parse_uri
from workers.artifacts.stores import Stores
from workers.artifacts.transfer import Progress, Transfer
from workers.settings import COMMON_STORE, HttpSettings, NamedStore, StoreSettings
from workflows.errors import ArtifactError, ArtifactStoreUnavailable
from workflows.outcome import Artifact
from workflows.values import JsonObject

log = logging.getLogger(__name__)

ALWAYS_READ = 16 * 1024 * 1024
"""Bytes up to which an artifact is read and hashed at every check; above, the store's mark is enough if it is known."""

ALWAYS_READ_OBJECTS = 100
"""The same for the objects of a prefix."""


class ArtifactStore:
    """Knows the stores of an installation, and which engine reads which.

    Args:
        settings: of the common store.
        named: further stores.
        engines: by name; one that is not among them reads the common store alone.
    """

    def __init__(
        self,
        settings: StoreSettings,
        named: Mapping[str, NamedStore] | None = None,
        engines: Mapping[str, HttpSettings] | None = None,
    ) -> None:
        self.settings = settings
        self.named = named or {}
        self._engines = engines or {}
        self._stores = Stores(settings, self.named)
        self._facts = FactReader(self._stores)
        self._transfer = Transfer(self._stores, self._facts)
        self._made = Copies(self._stores, self._facts, self._transfer)

    async def stat(self, uri: str, *, digest: bool = True) -> ObjectFacts | None:
        """Look at an object, or at the prefix of this name when there is no such object.

        Args:
            uri: `s3://bucket/key`.
            digest: read everything and hash it; else only sizes and marks are asked for.

        Returns:
            None when there is neither an object nor a prefix.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
            ArtifactError: it refuses, or none serves the address.
        """
        place = parse_uri(uri)
        listing = await self._facts.listing(place)
        if listing is None:
            return None
        return listing.facts(await self._facts.digest(place, listing) if digest else None)

    async def describe(
        self, name: str, uri: str, *, type: str = "", producer: str = "", metadata: JsonObject | None = None
    ) -> Artifact:
        """Make the record of an artifact, with its size, digest and mark.

        What cannot be read is recorded without them: the engine run is over and what it said must be kept.
        `check` is strict, before somebody depends on the object.
        """
        artifact = Artifact(name=name, uri=uri, type=type, producer=producer, metadata=metadata or {})
        try:
            facts = await self.stat(uri)
        except ArtifactError as error:
            log.warning("artifact '%s' is recorded without size and digest: %s", name, error.message)
            return artifact
        if facts is None:
            log.warning("artifact '%s' is recorded without size and digest: nothing is at %s", name, uri)
            return artifact
        return _with(artifact, facts)

    async def check(self, artifact: Artifact) -> None:
        """Make sure that a consumer will find what the producer wrote.

        A small artifact is read and hashed. A large one is believed by the mark that the store gave when it was
        made, and read only when that has changed or is not known.

        Raises:
            ArtifactError: it is gone, unreadable, or of another size or digest; names the URI and the producer.
        """
        place = parse_uri(artifact.uri)
        listing = await self._listing(artifact, place)
        if artifact.sha256 is None:
            return
        small = listing.size <= ALWAYS_READ and len(listing.entries) <= ALWAYS_READ_OBJECTS
        if not small and artifact.etag is not None and artifact.etag == listing.etag:
            return
        digest = await self._facts.digest(place, listing)
        if digest != artifact.sha256:
            raise ArtifactError(
                f"{_what(artifact)} has sha256 {digest}, but {artifact.sha256} when it was made",
                hint="something has overwritten it; run the step that makes it again",
            )

    async def spoilt(self, artifact: Artifact) -> str:
        """Why an artifact cannot stand for what was made: it is gone, has changed, or nobody can tell.

        Returns:
            Empty when it is there with the digest that it had.

        Raises:
            ArtifactStoreUnavailable: the store does not answer.
        """
        if artifact.sha256 is None:
            return f"artifact '{artifact.name}' has no digest, so nobody can tell whether it is what was made"
        try:
            await self.check(artifact)
        except ArtifactStoreUnavailable:
            raise
        except ArtifactError as error:
            return error.message
        return ""

    def needs_copy(self, engine: str, artifact: Artifact) -> bool:
        """Whether the artifact is in a store that the engine cannot read. Asks nobody; wrong addresses need none."""
        try:
            return self._stores.name_of(parse_uri(artifact.uri)) not in self._readable(engine)
        except ArtifactError:
            return False  # `check` says it

    async def copy(self, artifact: Artifact, engine: str, progress: Progress) -> Artifact:
        """Bring an artifact into the store that the engine's inputs are copied into, or find it there.

        Safe to repeat: what an earlier call has brought there is used.

        Args:
            artifact: what a step is to read.
            engine: the step's.
            progress: told of it; `Progress.abandon` after a cancellation.

        Returns:
            The artifact as the engine reads it, with the digest of what was copied.

        Raises:
            ArtifactError: it is gone or not what it was, or there is no place for copies.
            ArtifactStoreUnavailable: a store does not answer; the next call goes on.
        """
        staging = self._staging(engine)
        place = parse_uri(artifact.uri)
        listing = await self._listing(artifact, place)
        digest = artifact.sha256 or await self._facts.digest(place, listing)
        target, copied = await self._made.ensure(place, listing, digest, staging, progress)
        log.info("artifact '%s' (%d bytes) at %s is at %s", artifact.name, listing.size, artifact.uri, target.uri)
        return _with(
            artifact.model_copy(update={"uri": target.uri}),
            copied.facts(digest),
            copied_from=artifact.uri,
        )

    def settings_of(self, uri: str) -> StoreSettings:
        """Settings of the store that a URI is in.

        Raises:
            ArtifactError: no store serves it.
        """
        return self._stores.settings_of(uri)

    def close(self) -> None:
        """Close connections."""
        self._transfer.close()

    async def _listing(self, artifact: Artifact, place: ObjectPlace) -> Listing:
        """What is at an artifact's place, which must be there and as large as it was."""
        listing = await self._facts.listing(place)
        if listing is None:
            raise ArtifactError(
                f"{_what(artifact)} does not exist",
                hint="has it been cleaned up? run the step that makes it again, or correct the address",
            )
        if artifact.size is not None and listing.size != artifact.size:
            raise ArtifactError(
                f"{_what(artifact)} has {listing.size} bytes, but {artifact.size} when it was made",
                hint="something has overwritten it; run the step that makes it again",
            )
        return listing

    def _readable(self, engine: str) -> tuple[str, ...]:
        settings = self._engines.get(engine)
        return (COMMON_STORE,) if settings is None else settings.readable_stores

    def _staging(self, engine: str) -> ObjectPlace:
        settings = self._engines.get(engine)
        name = COMMON_STORE if settings is None else settings.copies_store
        staging = self._stores.settings(name).staging
        if not staging:
            section = name if name == COMMON_STORE else f"stores.{name}"
            raise ArtifactError(
                f"engine '{engine}' cannot read the artifact where it is, and there is no place to copy it to",
                hint=f'set staging of [{section}] in meta.toml ("s3://bucket/prefix"), or let the engine read the '
                f"artifact's store (stores of [engines.{engine}])",
            )
        return parse_uri(staging)


def _with(artifact: Artifact, facts: ObjectFacts, **metadata: str) -> Artifact:
    return artifact.model_copy(
        update={
            "size": facts.size,
            "sha256": facts.sha256,
            "etag": facts.etag,
            "metadata": {**artifact.metadata, **metadata},
        }
    )


def _what(artifact: Artifact) -> str:
    source = f"step '{artifact.producer}'" if artifact.producer else "outside this run"
    return f"artifact '{artifact.name}' at {artifact.uri} (from {source})"
