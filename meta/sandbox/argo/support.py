"""What of Argo the sandbox can do: fields of manifests, and calls of the API."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

from hera.workflows import models as m
from pydantic import BaseModel, SecretStr

from meta.sandbox.argo.app import create_app
from meta.sandbox.argo.manifest.supported import WORKFLOW
from meta.sandbox.argo.resources.kinds import KINDS
from meta.sandbox.argo.settings import ArgoSandboxSettings
from meta.sandbox.fields import ANY_KEY, REFUSED, Mark, Table
from meta.sandbox.support import NO_EFFECT_NOTE, Entry, Level, calls


def support() -> list[Entry]:
    """Everything that Argo's own API knows, by message; for `meta sandbox support`."""
    nowhere = ArgoSandboxSettings(
        data_dir=Path(), environments=Path(), s3_endpoint="http://127.0.0.1", s3_bucket="none",
        access_key_id=SecretStr(""), secret_access_key=SecretStr(""),
    )  # fmt: skip
    found = calls(create_app(nowhere), _official_calls())
    seen: dict[tuple[str, str], Entry] = {}
    for entry in _fields(m.Workflow, WORKFLOW, frozenset()):
        known = seen.get((entry.area, entry.name))
        if known is None or _RANK[entry.level] < _RANK[known.level]:  # a message used in two places: where it can most
            seen[entry.area, entry.name] = entry
    kinds = [Entry("resource templates", kind, Level.SUPPORTED, "") for kind in KINDS]
    return [*found, *seen.values(), *kinds]


_RANK = {level: rank for rank, level in enumerate(Level)}


def _fields(model: type[BaseModel], table: Mark | Table, above: frozenset[type[BaseModel]]) -> Iterator[Entry]:
    if isinstance(table, Mark) or model in above:
        return
    known = table.get(ANY_KEY, table)
    if isinstance(known, Mark):
        return
    for key, field in model.model_fields.items():
        name = field.alias or key
        inner = _model(field.annotation)
        if key == "root":  # a list with a name of its own
            if inner is not None:
                yield from _fields(inner, table, above | {model})
            continue
        if model is m.Workflow and name == "status":
            continue
        inside = known.get(name, REFUSED)
        level = Level(inside.value) if isinstance(inside, Mark) else Level.SUPPORTED
        yield Entry(model.__name__, name, level, NO_EFFECT_NOTE if level is Level.APPROXIMATED else "")
        if inner is not None:
            yield from _fields(inner, inside, above | {model})


def _model(annotation: object) -> type[BaseModel] | None:
    """The message in an annotation such as `list[Template] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model(part)) is not None), None)


def _official_calls() -> Iterator[tuple[str, str]]:
    """Method and path of every call that the official SDK has."""
    package = importlib.import_module("argo_workflows.api")
    for module in pkgutil.iter_modules(package.__path__):
        for kind in vars(importlib.import_module(f"argo_workflows.api.{module.name}")).values():
            if isinstance(kind, type) and kind.__module__ == f"argo_workflows.api.{module.name}":
                for endpoint in cast("dict[str, object]", vars(kind())).values():
                    settings = cast("dict[str, object] | None", getattr(endpoint, "settings", None))
                    if settings is not None:
                        yield str(settings["http_method"]), str(settings["endpoint_path"])
