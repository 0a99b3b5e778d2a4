"""What a command is asked to run: a published name, a chain of the catalogue, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meta.cli.shipped import catalog, shipped_file
from meta.client import MetaClient
from meta.client.client import names_file
from workflows.bundle import Bundle, build_bundle
from workflows.errors import NotFound
from workflows.spec.models import MetaWorkflow
from workflows.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Target:
    """What the client starts, and its definition, by whose types inputs are read."""

    what: str | Bundle
    definition: MetaWorkflow


async def find_target(client: MetaClient, name: str) -> Target:
    """Find out what is meant; a published name wins over the catalogue's.

    Raises:
        NotFound: there is nothing of this name.
        DefinitionInvalid: the file, with every problem.
    """
    if names_file(name):
        bundle = build_bundle(Path(name))
        return Target(bundle, bundle.definition)
    published = {one.name: one.definition for one in await client.workflows()}
    if name in published:
        return Target(name, published[name])
    file = shipped_file(name)
    if file is None:
        known = [*published, *(chain.name for chain in catalog())]
        raise NotFound(f"no workflow {name!r}", hint=did_you_mean(name, known, what="workflows"))
    bundle = build_bundle(file)
    return Target(bundle, bundle.definition)
