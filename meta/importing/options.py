"""What an import is told beside the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the files do not say.

    Attributes:
        event_sources: further files, with EventSources.
        subjects: NATS subjects by dependency; under an empty name for the others.
        stream: that has the subjects; empty leaves it to the service.
        pipelines: names of KFP pipelines and versions by id.
        parameters: values of a WorkflowTemplate's parameters that are fixed for good.
    """

    event_sources: tuple[Path, ...] = ()
    subjects: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: str = ""
    pipelines: Mapping[str, str] = field(default_factory=dict[str, str])
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
