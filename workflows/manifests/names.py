"""Names between definitions and engines."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")


def engine_name(name: str, declared: Collection[str]) -> str:
    """The engine's own name of a parameter or an artifact that a definition names.

    An exact match wins; else the declared name that `definition_name` turns into it (`min_accuracy` finds
    `min-accuracy`); else the name as it is, which is right for templates whose declarations are not known here.
    """
    if name in declared:
        return name
    hyphens = name.replace("_", "-")
    if hyphens in declared:
        return hyphens
    return next((d for d in sorted(declared) if definition_name(d) == name), name)


def definition_name(engine_name: str) -> str:
    """The name that a definition uses for an engine's: lower case, anything but letters and digits an underscore."""
    name = re.sub(r"[^a-z0-9_]", "_", engine_name.lower())
    return name if re.match(r"[a-z]", name) else f"x{name}"


def definition_names(items: Mapping[str, T]) -> dict[str, T]:
    """A mapping by engine names, by definition names; of two that become one, the exact one wins."""
    renamed = {definition_name(name): value for name, value in items.items()}
    return renamed | {name: value for name, value in items.items() if definition_name(name) == name}


def kfp_artifact_parameter(artifact: str, declared: Collection[str]) -> str:
    """The KFP parameter that carries an artifact's URI, for `dsl.importer`.

    KFP takes no artifacts as a run's input (kubeflow/pipelines issues 10526, 12555).

    Returns:
        `<artifact>_uri` when the pipeline declares such a parameter, else the artifact's own name.
    """
    with_suffix = engine_name(f"{artifact}_uri", declared)
    return with_suffix if with_suffix in declared else engine_name(artifact, declared)
