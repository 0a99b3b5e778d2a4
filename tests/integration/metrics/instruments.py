"""The instruments that the code makes, and those that its tables describe."""

from __future__ import annotations

import re
from pathlib import Path

import meta.events.metrics
import meta.store.metrics
import meta.telemetry.gauges
import meta.triggers.metrics
import workers.metrics

MODULES = (workers.metrics, meta.triggers.metrics, meta.events.metrics, meta.store.metrics, meta.telemetry.gauges)


def made() -> list[str]:
    """Names that are given to a `create_...`."""
    return [
        name
        for module in MODULES
        for name in re.findall(r'create_\w+\(\s*"(meta\.[a-z._]+)"', Path(str(module.__file__)).read_text())
    ]


def described() -> list[str]:
    """Names in the tables of the modules' docstrings."""
    return [name for module in MODULES for name in re.findall(r"^\| `(meta\.[a-z._]+)` ", module.__doc__ or "", re.M)]
