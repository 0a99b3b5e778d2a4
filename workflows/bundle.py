"""A bundle: a definition with the files it names, addressed by the digest of its content.

The client builds it; the service stores it once; a run keeps it for life.
"""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict

from workflows.spec.models import MetaWorkflow
from workflows.values import canonical_json, digest_of


class Bundle(BaseModel):
    """A definition and its files.

    Attributes:
        definition: as validated.
        files: text of every file that a step names, by the path the definition gives.
        source: the definition's own text, comments included; it does not count in the digest.
    """

    model_config = ConfigDict(frozen=True)

    definition: MetaWorkflow
    files: dict[str, str]
    source: str = ""

    @cached_property
    def digest(self) -> str:
        """`sha256:...` over the canonical JSON of definition and files."""
        return digest_of(
            canonical_json(
                {
                    "definition": self.definition.model_dump(mode="json", by_alias=True, exclude_unset=True),
                    "files": dict(self.files),
                }
            )
        )
