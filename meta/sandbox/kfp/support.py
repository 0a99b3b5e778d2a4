"""What of Kubeflow Pipelines the sandbox can do: calls of the API, and kinds of components and settings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from meta.sandbox.fields import NO_EFFECT, rows
from meta.sandbox.kfp.app import create_app
from meta.sandbox.kfp.settings import KfpSandboxSettings
from meta.sandbox.kfp.supported import TABLES
from meta.sandbox.support import NO_EFFECT_NOTE, Entry, Level, calls

_CALL = re.compile(r"call_api\(\s*'([^']+)', '([A-Z]+)'")


def support() -> list[Entry]:
    """Everything that KFP's own API knows; for `meta sandbox support`."""
    nowhere = KfpSandboxSettings(
        data_dir=Path(), s3_endpoint="http://127.0.0.1", s3_bucket="none", s3_access_key="", s3_secret_key="",
        environments_dir=Path(),
    )  # fmt: skip
    fields = [
        Entry(area, name, Level(mark.value), NO_EFFECT_NOTE if mark is NO_EFFECT else "")
        for message, table in TABLES.items()
        for area, name, mark in rows(table, message)
    ]
    return [*calls(create_app(nowhere), _official_calls()), *fields]


def _official_calls() -> Iterator[tuple[str, str]]:
    """Method and path of every call that the official SDK has; it keeps them in the text of its methods alone."""
    package = importlib.import_module("kfp_server_api.api")
    for module in pkgutil.iter_modules(package.__path__):
        source = inspect.getsource(importlib.import_module(f"kfp_server_api.api.{module.name}"))
        for path, method in _CALL.findall(source):
            yield method, path
