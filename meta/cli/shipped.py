"""The catalogue: chains that come with the package, under workflows/catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

import workflows

FOLDER = Path(workflows.__file__).parent / "catalog"


@dataclass(frozen=True, slots=True)
class Shipped:
    name: str
    description: str
    file: Path


def shipped_file(name: str) -> Path | None:
    """The definition of a chain of the catalogue, unless a file of that name is at hand."""
    if Path(name).exists():
        return None
    return next((chain.file for chain in catalog() if chain.name == name), None)


def catalog() -> list[Shipped]:
    """All of them, by name."""
    found: list[Shipped] = []
    for file in sorted(FOLDER.glob("*/workflow.yaml")):
        # they are ours and tested, so the names are read without the checks that a user's file needs
        document = cast(dict[str, dict[str, str]], yaml.safe_load(file.read_text()))
        metadata = document["metadata"]
        found.append(Shipped(metadata["name"], metadata.get("description", ""), file))
    return found
