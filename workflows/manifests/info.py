"""What was found in a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows.errors import BundleInvalid
from workflows.outcome import EngineKind
from workflows.values import JsonValue, ValueType


class ManifestUnreadable(BundleInvalid):
    """A file that is no manifest, or not one of the engine that is asked to run it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that a manifest declares.

    Attributes:
        required: it has no default.
        type: None when the engine says none (Argo's are strings, which anything can be turned into).
        choices: the only values that are taken (Argo's `enum`, KFP's literals); empty when any is.
    """

    required: bool
    type: ValueType | None = None
    choices: tuple[JsonValue, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """What a manifest declares, by the engine's own names.

    Attributes:
        kind: the engine it is for.
        name: the pipeline's or workflow's own; empty when it has none.
        parameters: None when they are declared elsewhere (a template that the manifest refers to).
        artifacts: input artifacts and whether each is required; None as above. A KFP pipeline has none: artifacts
            are passed to it as parameters (`kfp_artifact_parameter`).
        outputs: with their types where the engine declares them; None when they cannot be determined.
        output_artifacts: None when they cannot be determined.
    """

    kind: EngineKind
    name: str = ""
    parameters: Mapping[str, Parameter] | None = field(default_factory=dict[str, Parameter])
    artifacts: Mapping[str, bool] | None = field(default_factory=dict[str, bool])
    outputs: Mapping[str, ValueType | None] | None = None
    output_artifacts: frozenset[str] | None = None
