"""What a container's process is: its command line, environment and working directory on the host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hera.workflows import models as m

from meta.sandbox.argo.pods.paths import PathMap
from meta.sandbox.images import Image

SCRIPT = "/argo/staging/script"  # where the real executor puts a script's source
HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
_REFERENCE = re.compile(r"\$(\$)?\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class Images(Protocol):
    """The table of images (`meta.sandbox.images.ImageTable`)."""

    def lookup(self, image: str) -> Image | None: ...


class Environments(Protocol):
    """The cache of Python environments (`meta.sandbox.environments.EnvironmentCache`)."""

    async def prepare(self, requirements: Path | None, *, with_kfp: bool = False) -> Path: ...


@dataclass(frozen=True, slots=True)
class Command:
    argv: list[str]
    env: dict[str, str]
    cwd: Path


def build_command(
    template: m.Template, image: Image | None, paths: PathMap, *, root: Path, python: Path, identity: Mapping[str, str]
) -> Command:
    """Put the process of a template's main container together.

    The environment is clean: nothing of the server's own gets into a pod.

    Args:
        template: with its tags replaced.
        image: the entry of the images table.
        paths: where its paths lie.
        root: the folder that stands for the container's root.
        python: the environment that is first on PATH.
        identity: `ARGO_*` variables and the host name.

    Raises:
        ValueError: neither the manifest nor the images table says what to run.
    """
    container = template.container or template.script
    assert container is not None  # pods are container and script templates only
    env = {
        "PATH": f"{python / 'bin'}:{HOST_PATH}",
        "HOME": str(root),
        "TMPDIR": str(root / "tmp"),
        "LANG": "C.UTF-8",
        **identity,
    }
    for variable in container.env or []:
        env[variable.name] = paths.rewrite(_expand(variable.value or "", env))
    command = list(container.command or (image.command if image and image.command else ()))
    if not command:
        raise ValueError(
            f"image {container.image} is not in the images table with a command, so its entrypoint is not known: "
            f"set templates.{template.name}'s command or add the image to the table"
        )
    arguments = list(container.args or [])
    if template.script is not None:
        arguments = [SCRIPT]
    argv = [paths.rewrite(_expand(part, env)) for part in (*command, *arguments)]
    cwd = paths.host(container.working_dir) if container.working_dir else root
    return Command(argv, env, cwd)


def _expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it in commands, arguments and later variables; `$$(NAME)` stays `$(NAME)`."""

    def one(match: re.Match[str]) -> str:
        if match.group(1):
            return match.group(0)[1:]
        return env.get(match.group(2), match.group(0))

    return _REFERENCE.sub(one, text)
