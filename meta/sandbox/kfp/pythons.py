"""Which interpreter each component of a pipeline runs under."""

from __future__ import annotations

import hashlib
from pathlib import Path

from meta.sandbox.environments import EnvironmentCache
from meta.sandbox.images import ImageTable
from meta.sandbox.kfp.executors import Executor
from meta.sandbox.kfp.packages import Packages
from meta.sandbox.kfp.pipeline import CompiledPipeline
from workflows.errors import SettingsInvalid


class Pythons:
    """Prepares the environments of pipelines.

    Args:
        cache: where they are kept.
        images: an image of the table has its own environment, whatever its components would install.
        folder: for the requirements files of components whose image is not in the table.
    """

    def __init__(self, cache: EnvironmentCache, images: ImageTable, folder: Path) -> None:
        self._cache = cache
        self._images = images
        self._folder = folder

    async def prepare(self, pipeline: CompiledPipeline) -> tuple[dict[str, str], Path]:
        """Prepare what a pipeline needs; at once when it is there already.

        Returns:
            The interpreter of each executor, by its label, and the one that runs the pipeline itself.

        Raises:
            SettingsInvalid: an image's requirements do not hold kfp.
            HostError: an installation failed.
        """
        pythons: dict[str, str] = {}
        own: Path | None = None
        for executor in pipeline.executors:
            environment = await self._environment(executor)
            pythons[executor.label] = str(environment / "bin" / "python")
            own = own or (environment if executor.python else None)
        own = own or await self._cache.prepare(None, with_kfp=True)
        return pythons, own / "bin" / "python"

    async def _environment(self, executor: Executor) -> Path:
        image = self._images.lookup(executor.image)
        if image is None or image.requirements is None:
            return await self._cache.prepare(self._requirements(executor.packages), with_kfp=True)
        environment = await self._cache.prepare(image.requirements)
        for package in ("kfp", "docker") if executor.python else ():
            if not list(environment.glob(f"lib/python*/site-packages/{package}/__init__.py")):
                raise SettingsInvalid(
                    f'the environment of image "{executor.image}" has no {package}; {image.requirements} must hold '
                    "kfp and docker, which the official runner imports there",
                    hint="Add both to the requirements file, with hashes.",
                )
        return environment

    def _requirements(self, packages: Packages) -> Path | None:
        if not packages.requirements:
            return None
        text = packages.text()
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"packages-{hashlib.sha256(text.encode()).hexdigest()[:12]}.txt"
        file.write_text(text, encoding="utf-8")
        return file
