"""The images table: what stands in for a container image where there are no containers.

A table is one or more TOML files. An image becomes a cached Python environment (`requirements`, a file with pinned
hashes, relative to the table's own file), a command on PATH (`command`), a folder of programs (`path`, relative to the
table too: first on PATH, and where a program is found that the image has at an absolute path), or several of them:

    [images."meta-workflows/digits:1"]
    requirements = "digits.txt"

    [images."alpine/curl:8"]
    command = ["curl"]

    [images."argoproj/argosay:v2"]
    path = "programs"
    command = ["/argosay"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ConfigDict, ValidationError

from workflows.errors import SettingsInvalid


class Image(BaseModel):
    """What runs in the place of an image.

    Attributes:
        command: the image's entrypoint, as a command on PATH; None when the manifest must give its own.
        requirements: absolute path of a requirements file; None for the standard library alone.
        path: absolute path of a folder of programs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...] | None = None
    requirements: Path | None = None
    path: Path | None = None

    def find(self, program: str) -> Path | None:
        """A program that the image has at an absolute path, in our folder of its programs; None if it is not there."""
        if self.path is None or not program.startswith("/"):
            return None
        found = self.path / Path(program).name
        return found if found.is_file() else None


class ImageTable:
    """Images by name, from all the files; a name may stand in one file only."""

    def __init__(self, images: Mapping[str, Image]) -> None:
        self._images = dict(images)

    @classmethod
    def load(cls, files: Sequence[Path]) -> ImageTable:
        """Read and check the files.

        Raises:
            SettingsInvalid: a file is missing or is no TOML, a key is unknown or of the wrong type, a requirements file
                does not exist, or a name stands twice. The message names the file and the key.
        """
        images: dict[str, Image] = {}
        origin: dict[str, Path] = {}
        for file in files:
            for name, image in _read(file).items():
                if name in images:
                    raise SettingsInvalid(
                        f'{file}: images."{name}" is also defined in {origin[name]}. Keep one of the two.'
                    )
                images[name] = image
                origin[name] = file
        return cls(images)

    @property
    def images(self) -> Mapping[str, Image]:
        return self._images

    def lookup(self, image: str) -> Image | None:
        """Find an image by its exact name, else by its name without a registry's host.

        `docker.io/alpine/curl:8` finds `alpine/curl:8`, and `docker.io/library/python:3.11` finds `python:3.11`, as
        for a container runtime.
        """
        for name in _spellings(image):
            if name in self._images:
                return self._images[name]
        return None


def _spellings(image: str) -> list[str]:
    names = [image]
    host, slash, rest = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):  # how container runtimes tell a host from a path
        names.append(rest)
        if rest.startswith("library/"):
            names.append(rest.removeprefix("library/"))
    return names


def _read(file: Path) -> dict[str, Image]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsInvalid(f"{file}: there is no such images table. Check the path given by --images.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(
            f"{file}: cannot be read: {error}. The images table must be a UTF-8 TOML file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{file}: is not valid TOML: {error}.") from error
    unknown = sorted(set(document) - {"images"})
    if unknown:
        raise SettingsInvalid(f'{file}: unknown key "{unknown[0]}". An images table has [images."NAME"] tables only.')
    table: object = document.get("images", {})
    if not isinstance(table, dict):
        raise SettingsInvalid(f'{file}: "images" must be a table of images: [images."NAME"].')
    return {name: _image(file, name, entry) for name, entry in cast("dict[str, object]", table).items()}


def _image(file: Path, name: str, entry: object) -> Image:
    where = f'{file}: images."{name}"'
    try:
        image = Image.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsInvalid(
            f"{where}{'.' + key if key else ''}: {first['msg']}. An image has `command` (a list of strings), "
            "`requirements` (a file, relative to the table) and `path` (a folder, relative to the table)."
        ) from error
    if image.command is not None and not image.command:
        raise SettingsInvalid(f"{where}.command: is empty. Name the program to run, or leave the key out.")
    update: dict[str, Path] = {}
    if image.requirements is not None:
        update["requirements"] = (file.parent / image.requirements).resolve()
        if not update["requirements"].is_file():
            raise SettingsInvalid(
                f"{where}.requirements: there is no file {update['requirements']}. The path is relative to the table's "
                "own folder."
            )
    if image.path is not None:
        update["path"] = (file.parent / image.path).resolve()
        if not update["path"].is_dir():
            raise SettingsInvalid(
                f"{where}.path: there is no folder {update['path']}. The path is relative to the table's own folder."
            )
    return image.model_copy(update=update)
