"""Engines by their names in the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.base import Engine
from workers.engines.kfp.engine import KfpEngine
from workers.ports import Keeper
from workers.settings import ArgoSettings, EngineSettings
from workflows.errors import NotFound


def build_engines(
    settings: Mapping[str, EngineSettings], objects: ArtifactStore, keeper: Keeper | None = None
) -> dict[str, Engine]:
    """Make the engines of a configuration. Nothing is asked of them yet.

    Args:
        settings: by the engines' names.
        objects: the store that artifacts are in.
        keeper: what worker processes share; None for engines that submit nothing, or in a process that is alone.
    """
    return {name: _build(name, each, objects, keeper) for name, each in settings.items()}


def get_engine(engines: Mapping[str, Engine], name: str) -> Engine:
    """The engine of a name.

    Raises:
        NotFound: none is configured under it; names those that are.
    """
    if name in engines:
        return engines[name]
    close = difflib.get_close_matches(name, engines, n=1)
    known = ", ".join(sorted(engines)) or "none"
    raise NotFound(
        f"no engine '{name}' is configured (there are: {known})",
        hint=f"did you mean '{close[0]}'?" if close else f"add [engines.{name}] to meta.toml",
    )


def _build(name: str, settings: EngineSettings, objects: ArtifactStore, keeper: Keeper | None) -> Engine:
    if isinstance(settings, ArgoSettings):
        return ArgoEngine(name, settings, objects, keeper)
    return KfpEngine(name, settings, objects, keeper)
