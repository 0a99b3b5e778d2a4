"""The executors of a compiled pipeline: what each needs to run here, and which cannot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from meta.sandbox.images import ImageTable
from meta.sandbox.kfp.errors import unsupported
from meta.sandbox.kfp.packages import Packages, UnknownOption, packages_of
from meta.sandbox.kfp.supported import PLACEHOLDERS

Json: TypeAlias = dict[str, Any]

RUN_PATH = "/usr/local/bin:/usr/bin:/bin"  # of every component, after its own environment
CREATE_VOLUME = "argostub/createpvc"
VOLUME_IMAGES = (CREATE_VOLUME, "argostub/deletepvc")  # the driver does their work, no container (driver/k8s.go)
_EXECUTOR_MODULE = "kfp.dsl.executor_main"
_IN_ENVIRONMENT = ("python", "python3")
_SCHEMES = ("s3://",)


@dataclass(frozen=True, slots=True)
class Executor:
    """One executor of a compiled pipeline.

    Attributes:
        label: its key in `deploymentSpec.executors`.
        image: the container image.
        packages: what the component installs before it runs.
        python: it runs a Python function with the official executor, so its environment needs kfp.
        command: stands in for the image's entrypoint where the component gives no command.
    """

    label: str
    image: str
    packages: Packages
    python: bool = True
    command: tuple[str, ...] = ()


def read_executors(deployment: Json, images: ImageTable) -> tuple[Executor, ...]:
    """The containers, by their order in the IR.

    Raises:
        ApiError: one of them cannot run here; the message names the field.
    """
    found: list[Executor] = []
    for label, executor in cast("dict[str, Json]", deployment.get("executors", {})).items():
        place = f"deploymentSpec.executors.{label}"
        if "importer" in executor:
            check_uri(f"{place}.importer.artifactUri", executor["importer"].get("artifactUri", {}).get("constant"))
        elif "container" not in executor:
            raise unsupported(f"{place}.{next(iter(executor), 'spec')}", "it runs containers and importers")
        elif executor["container"].get("image") not in VOLUME_IMAGES:
            found.append(_container(label, place, executor["container"], images))
    return tuple(found)


def check_uri(place: str, uri: object) -> None:
    """Refuse to import from where the sandbox cannot read."""
    if isinstance(uri, str) and "://" in uri and "{{$" not in uri and not uri.startswith(_SCHEMES):
        raise unsupported(place, f'"{uri}" is elsewhere; it reads s3://bucket/key only')


def check_placeholders(place: str, text: object) -> None:
    """Refuse placeholders that nothing replaces here, such as those of Google Cloud."""
    for name in re.findall(r"\{\{\$\.(\w+)", text) if isinstance(text, str) else ():
        if name not in PLACEHOLDERS:
            raise unsupported(place, f"the placeholder {{{{$.{name}}}}} stands for nothing here")


def _container(label: str, place: str, container: Json, images: ImageTable) -> Executor:
    command = [str(part) for part in container.get("command", [])]
    place = f"{place}.container"
    image = str(container.get("image", ""))
    known = images.lookup(image)
    if not any(_EXECUTOR_MODULE in part for part in command):
        stands_in = () if command or known is None else known.command or ()
        _check_command(place, image, command or stands_in, [str(part) for part in container.get("args", [])])
        return Executor(label, image, Packages(), python=False, command=stands_in)
    if command[:2] == ["python3", "-m"]:
        raise unsupported(f"{place}.command", "containerized Python components need their container's code")
    if known is not None and known.requirements is None:
        raise unsupported(f"{place}.image", f'images."{image}" has no `requirements` in the images table; add some')
    if known is None and "python" not in image:
        raise unsupported(
            f"{place}.image",
            f'"{image}" is not in the images table, and nobody knows what is in it; add [images."{image}"] with '
            "`requirements`",
        )
    try:
        packages = packages_of(command)
    except UnknownOption as error:
        raise unsupported(f"{place}.command", f"pip install {error}") from error
    return Executor(label, image, packages)


def _check_command(place: str, image: str, command: Sequence[str], args: Sequence[str]) -> None:
    """A container component runs where its command exists on this machine."""
    for part in [*command, *args]:
        check_placeholders(f"{place}.command", part)
    if not command:
        raise unsupported(
            f"{place}.image", f'the entrypoint of "{image}" is not known; add [images."{image}"] with `command`'
        )
    program = command[0]
    if any("pip install" in part for part in [*command, *args]):
        raise unsupported(f"{place}.command", "it installs packages itself; use a Python component (@dsl.component)")
    if "{{$" in program or program.startswith("{"):
        return  # decided by the arguments; a program that is not there fails the task with exit code 127
    if program not in _IN_ENVIRONMENT and not shutil.which(program, path=RUN_PATH):
        raise unsupported(
            f"{place}.command",
            f'there is no "{program}" on this machine; container components run as processes, without "{image}"',
        )
