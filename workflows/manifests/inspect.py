"""Reads a manifest of either engine, and tells which engine it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import yaml

from workflows.manifests.argo import ARGO_KINDS, inspect_argo
from workflows.manifests.info import ManifestInfo, ManifestUnreadable
from workflows.manifests.kfp import inspect_kfp, is_pipeline
from workflows.outcome import EngineKind
from workflows.values import JsonObject

MAX_FILE = 1 << 20
"""Largest file of a bundle, in bytes (1 MiB)."""

_TITLES = {EngineKind.ARGO: "an Argo Workflow", EngineKind.KFP: "a compiled KFP pipeline"}
_HINTS = {
    EngineKind.ARGO: "it needs apiVersion: argoproj.io/v1alpha1 and kind: Workflow",
    EngineKind.KFP: "compile it with kfp.compiler.Compiler().compile(), or name the Python: package: pipelines.py",
}


def inspect_manifest(text: str, kind: EngineKind, file: str = "manifest") -> ManifestInfo:
    """Read what a manifest declares.

    Args:
        text: of the file; JSON is YAML too.
        kind: the engine that the step uses.
        file: its name, for messages.

    Raises:
        ManifestUnreadable: it is too large, no YAML, of the other engine, or of neither.
    """
    size = len(text.encode(errors="replace"))
    if size > MAX_FILE:
        raise ManifestUnreadable(
            f"{file} has {size:,} bytes, {MAX_FILE:,} at most", hint="keep data out of it; pass an artifact"
        )
    documents = _documents(text, file)
    for document in documents:
        found = _kind_of(document)
        if found is kind:
            return _INSPECTORS[kind](document)
        if found is not None:
            raise ManifestUnreadable(
                f"{file} is {_TITLES[found]}, but the step uses {kind}",
                hint=f"name it under '{found}' instead",
            )
    what = next((_describe(d) for d in documents), "")
    raise ManifestUnreadable(f"{file} is neither an Argo Workflow nor a compiled KFP pipeline{what}", hint=_HINTS[kind])


_INSPECTORS: dict[EngineKind, Callable[[JsonObject], ManifestInfo]] = {
    EngineKind.ARGO: inspect_argo,
    EngineKind.KFP: inspect_kfp,
}


def _documents(text: str, file: str) -> list[JsonObject]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is built in: ten times as fast
    try:
        loaded = cast(list[object], list(yaml.load_all(text, loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise ManifestUnreadable(f"{file}{place} is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestUnreadable(f"{file} is no YAML: {type(error).__name__}: {error}") from None
    return [cast(JsonObject, d) for d in loaded if isinstance(d, dict)]


def _kind_of(document: JsonObject) -> EngineKind | None:
    if document.get("kind") in ARGO_KINDS and str(document.get("apiVersion", "")).startswith("argoproj.io/"):
        return EngineKind.ARGO
    return EngineKind.KFP if is_pipeline(document) else None


def _describe(document: JsonObject) -> str:
    kind, version = document.get("kind"), document.get("apiVersion")
    if isinstance(kind, str) and isinstance(version, str):
        return f"; it is a {kind} of {version}"
    return ""
