"""Artifacts: the stores they are in, facts about them, checks before they are used, copies for who cannot read them."""

from workers.artifacts.facts import ObjectFacts
from workers.artifacts.places import ObjectPlace, file_uri, parse_uri, s3_uri
from workers.artifacts.store import ArtifactStore
from workers.artifacts.transfer import Progress

__all__ = ["ArtifactStore", "ObjectFacts", "ObjectPlace", "Progress", "file_uri", "parse_uri", "s3_uri"]
