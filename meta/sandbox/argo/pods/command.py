"""What a container's process is: its command line, environment, working directory and limits on the host."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Protocol

from hera.workflows import models as m

from meta.processes import Confinement
from meta.sandbox.argo.pods.paths import PathMap
from meta.sandbox.images import Image
from meta.sandbox.kubernetes_objects import KubernetesObjects

SCRIPT = "/argo/staging/script"  # where the real executor puts a script's source
HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
_PROGRAM_FOLDERS = frozenset({*HOST_PATH.split(":"), "/sbin", "/usr/sbin", "/usr/local/sbin"})
_PYTHON = re.compile(r"(python|pip)[0-9.]*")  # of the image's environment
_REFERENCE = re.compile(r"\$(\$)?\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")
_POWERS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6, "m": -1, "u": -2, "n": -3}
_BINARY = {f"{letter}i": power for power, letter in enumerate("KMGTPE", start=1)}
FieldsOfPod = Mapping[str, str]
ContainerLike = m.Container | m.ScriptTemplate | m.UserContainer | m.ContainerNode


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
    confinement: Confinement


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's environment is made of.

    Attributes:
        image: the entry of the images table.
        python: the environment that is first on PATH.
        identity: `ARGO_*` variables and the host name.
        fields: what a `fieldRef` can name.
        objects: what a `configMapKeyRef` or `secretKeyRef` can name.
    """

    image: Image | None
    python: Path
    identity: Mapping[str, str]
    fields: FieldsOfPod
    objects: KubernetesObjects


def why_not_runnable(images: Images, image: str, program: str | None) -> str:
    """Why an image's command cannot run on this machine; empty when it can, or when only its run can tell.

    Args:
        images: the images table.
        image: the container's image.
        program: the first word of its command; None for the image's own.
    """
    known = images.lookup(image)
    if program is None:
        if known is not None and known.command:
            return ""
        return (
            f"must be specified: image {image} is not in the sandbox's images table with a command, and there is no "
            "registry to ask"
        )
    if known is not None and (known.requirements is not None or known.find(program) is not None):
        return ""
    on_path = "/" not in program or program.rpartition("/")[0] in _PROGRAM_FOLDERS
    folders = f"{known.path}:{HOST_PATH}" if known is not None and known.path else HOST_PATH
    if "$(" in program or not on_path or _PYTHON.fullmatch(program) or shutil.which(program, path=folders):
        return ""
    return (
        f'is not supported by the sandbox: there is no "{program}" on this machine; give image {image} a folder of '
        "programs (`path`) in the images table, or install it"
    )


def build_command(container: ContainerLike, given: Surroundings, paths: PathMap) -> Command:
    """Put a container's process together.

    The environment is clean: nothing of the server's own gets into a pod.

    Args:
        container: with its tags replaced.
        given: its surroundings.
        paths: where its paths lie.

    Raises:
        MissingObjectError: a ConfigMap or Secret, or one of its keys, is not there.
        ValueError: neither the manifest nor the images table says what to run, or a limit is no quantity.
    """
    image = given.image
    env = {
        "PATH": ":".join([*([str(image.path)] if image and image.path else []), str(given.python / "bin"), HOST_PATH]),
        "HOME": str(paths.root),
        "TMPDIR": str(paths.root / "tmp"),
        "LANG": "C.UTF-8",
        **given.identity,
    }
    for source in container.env_from or []:
        env |= _all_of(source, given.objects)
    for variable in container.env or []:
        value = _value_of(variable, given)
        if value is not None:
            env[variable.name] = paths.rewrite(_expand(value, env))
    entrypoint = image.command if image and image.command else ()
    command = list(container.command or entrypoint)
    if not command:
        raise ValueError(
            f"image {container.image} is not in the images table with a command, so its entrypoint is not known: "
            "set the container's command or add the image to the table"
        )
    arguments = list(container.args or [])
    if isinstance(container, m.ScriptTemplate):
        arguments.append(SCRIPT)
    argv = [paths.rewrite(_expand(part, env)) for part in (*command, *arguments)]
    if image is not None and (own := image.find(command[0])) is not None:
        argv[0] = str(own)
    cwd = paths.host(container.working_dir) if container.working_dir else paths.root
    return Command(argv, env, cwd, confinement_of(container.resources))


def _all_of(source: m.EnvFromSource, objects: KubernetesObjects) -> dict[str, str]:
    for kind, reference in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
        if reference is not None:
            found = objects.find(kind, reference.name, optional=reference.optional)
            if found is None:
                return {}
            names = {f"{source.prefix or ''}{key}": value for key, value in found.data.items()}
            return {key: value.decode(errors="replace") for key, value in names.items() if _VARIABLE.fullmatch(key)}
    return {}


def _value_of(variable: m.EnvVar, given: Surroundings) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return given.fields.get(source.field_ref.field_path, "")
    for kind, reference in (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref)):
        if reference is not None:
            value = given.objects.value(kind, reference)
            return None if value is None else value.decode(errors="replace")
    return None


def confinement_of(resources: m.ResourceRequirements | None) -> Confinement:
    """A container's limits; a part of a core counts as one.

    Raises:
        ValueError: a limit is no quantity.
    """
    limits = (resources.limits if resources else None) or {}
    memory, cpu = (quantity(str(limits[key].root)) if key in limits else None for key in ("memory", "cpu"))
    return Confinement(
        memory_bytes=None if memory is None else int(memory), cores=None if cpu is None else max(1, math.ceil(cpu))
    )


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity: `500m`, `1.5`, `64Mi`, `2G`.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    try:
        if match and match[2] in _BINARY:
            return Decimal(match[1]) * 1024 ** _BINARY[match[2]]
        if match and match[2] in _POWERS:
            return Decimal(match[1]) * Decimal(1000) ** _POWERS[match[2]]
    except InvalidOperation:  # two points in one number: the same to the user as any other slip
        pass
    raise ValueError(f"'{text}' is no quantity: quantities must match the regular expression {_QUANTITY.pattern}")


def _expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it in commands, arguments and later variables; `$$(NAME)` stays `$(NAME)`."""

    def one(match: re.Match[str]) -> str:
        if match.group(1):
            return match.group(0)[1:]
        return env.get(match.group(2), match.group(0))

    return _REFERENCE.sub(one, text)
