"""Bundles and the workflows published from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.database import Database
from meta.store.tables import BundleRow, DefinitionRow
from workflows.bundle import Bundle
from workflows.errors import NotFound
from workflows.spec.models import MetaWorkflow


@dataclass(frozen=True, slots=True)
class PublishedWorkflow:
    """A version of a published meta-workflow; versions count from 1."""

    name: str
    version: int
    description: str
    bundle_digest: str
    published_at: datetime
    definition: MetaWorkflow


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """Which bundle a name stands for."""

    version: int
    bundle_digest: str
    published_at: datetime


class Bundles:
    """Bundles by digest; implements `workers.ports.BundleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, digest: str) -> Bundle:
        """Load a bundle.

        Raises:
            NotFound: no bundle has this digest.
        """
        async with self._database.read() as session:
            row = await session.get(BundleRow, digest)
        if row is None:
            raise NotFound(f"no bundle {digest}", hint="put it first: `meta publish FILE`, or PutBundle")
        return Bundle(definition=MetaWorkflow.model_validate(row.definition), files=dict(row.files), source=row.source)

    async def put(self, bundle: Bundle) -> bool:
        """Store a bundle; False when it was there."""
        async with self._database.write() as session:
            row = {
                "digest": bundle.digest,
                "workflow": bundle.definition.name,
                # exclude_unset as in the digest: what comes back has the digest that went in
                "definition": bundle.definition.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "files": dict(bundle.files),
                "source": bundle.source,
                "created_at": datetime.now(UTC),
            }
            return bool(await self._database.insert_missing(session, BundleRow, [row]))


class Workflows:
    """Published names and their versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, digest: str) -> PublishedWorkflow:
        """Make a stored bundle the newest version of its definition's name; a repeat gives the version it has.

        Raises:
            NotFound: no bundle has this digest.
        """
        async with self._database.write() as session:
            bundle = await session.get(BundleRow, digest, with_for_update=True)
            if bundle is None:
                raise NotFound(f"no bundle {digest}", hint="put it first: `meta publish FILE`, or PutBundle")
            definition = MetaWorkflow.model_validate(bundle.definition)
            while True:
                newest = await self._newest_row(session, bundle.workflow)
                if newest is not None and newest.bundle_digest == digest and newest.removed_at is None:
                    break
                version = {
                    "name": bundle.workflow,
                    "version": newest.version + 1 if newest else 1,
                    "description": definition.metadata.description,
                    "bundle_digest": digest,
                    "published_at": datetime.now(UTC),
                }
                # somebody else may publish at this moment; then that is the newest, and we look again
                await self._database.insert_missing(session, DefinitionRow, [version])
        return _published(newest, definition)

    async def _newest_row(self, session: AsyncSession, name: str) -> DefinitionRow | None:
        query = select(DefinitionRow).where(DefinitionRow.name == name).order_by(col(DefinitionRow.version).desc())
        return (await session.exec(query.limit(1))).first()

    async def newest(self, name: str) -> PublishedWorkflow:
        """The newest version of a name.

        Raises:
            NotFound: nothing is published under the name; the hint offers names that are close.
        """
        found = [workflow for workflow in await self._list(name)]
        if not found:
            names = await self._names()
            close = get_close_matches(name, names, 1)
            hint = (
                f"did you mean '{close[0]}'?" if close else "`meta publish FILE` publishes one, `meta workflows` lists"
            )
            raise NotFound(f"no workflow {name!r} is published", hint=hint)
        return found[0]

    async def remove(self, name: str) -> None:
        """Take a name back: nothing starts by it any more, and its triggers end. Its runs and bundles stay.

        Raises:
            NotFound: nothing is published under the name.
        """
        await self.newest(name)
        async with self._database.write() as session:
            rows = await session.exec(
                select(DefinitionRow).where(DefinitionRow.name == name, col(DefinitionRow.removed_at).is_(None))
            )
            for row in rows.all():
                row.removed_at = datetime.now(UTC)

    async def list(self) -> list[PublishedWorkflow]:
        """The newest version of every name, by name."""
        return await self._list(None)

    async def versions(self) -> dict[str, PublishedVersion]:
        """The newest version of every name without its definition: cheap enough to ask every few seconds."""
        newest = select(DefinitionRow.name, func.max(DefinitionRow.version).label("version"))
        wanted = newest.where(col(DefinitionRow.removed_at).is_(None)).group_by(DefinitionRow.name).subquery()
        query = select(DefinitionRow).join(
            wanted, (wanted.c.name == DefinitionRow.name) & (wanted.c.version == DefinitionRow.version)
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return {row.name: PublishedVersion(row.version, row.bundle_digest, row.published_at) for row in rows}

    async def _names(self) -> list[str]:
        async with self._database.read() as session:
            present = select(DefinitionRow.name).where(col(DefinitionRow.removed_at).is_(None)).distinct()
            return list((await session.exec(present)).all())

    async def _list(self, name: str | None) -> list[PublishedWorkflow]:
        newest = select(DefinitionRow.name, func.max(DefinitionRow.version).label("version")).group_by(
            DefinitionRow.name
        )
        newest = newest.where(col(DefinitionRow.removed_at).is_(None))
        if name is not None:
            newest = newest.where(DefinitionRow.name == name)
        wanted = newest.subquery()
        query = (
            select(DefinitionRow, BundleRow)
            .join(wanted, (wanted.c.name == DefinitionRow.name) & (wanted.c.version == DefinitionRow.version))
            .join(BundleRow, col(BundleRow.digest) == DefinitionRow.bundle_digest)
            .order_by(DefinitionRow.name)
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [_published(row, MetaWorkflow.model_validate(bundle.definition)) for row, bundle in rows]


def _published(row: DefinitionRow, definition: MetaWorkflow) -> PublishedWorkflow:
    return PublishedWorkflow(row.name, row.version, row.description, row.bundle_digest, row.published_at, definition)
