"""Tarballs of artifacts, as the executor makes and opens them (workflow/executor, workflow/artifacts/archive)."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from pathlib import Path


def pack(source: Path, target: Path, level: int = 6) -> None:
    """Write a gzip'd tar with the file or folder under its own name.

    Args:
        source: the file or folder.
        target: the tarball.
        level: gzip's, 0 (none) to 9.
    """
    with tarfile.open(target, "w:gz", compresslevel=level) as archive:
        archive.add(source, arcname=source.name)


def is_tarball(path: Path) -> bool:
    """Whether a file is a gzip'd tar; the executor does not look for other kinds."""
    if not path.is_file():
        return False
    try:
        with tarfile.open(path, "r:gz") as archive:
            archive.next()
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    return True


def unpack(source: Path, target: Path) -> None:
    """Open a tarball at `target`: its only entry becomes `target`, several become a folder of that name.

    Raises:
        tarfile.TarError: it is damaged, or an entry would leave the folder.
    """
    folder = target.with_name(target.name + ".unpacked")
    folder.mkdir(parents=True)
    try:
        with tarfile.open(source, "r:gz") as archive:
            archive.extractall(folder, filter="data")
        entries = list(folder.iterdir())
        place(entries[0] if len(entries) == 1 else folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(source: Path, target: Path) -> None:
    """Move a file or folder to its place; into a mounted folder that is there already, entry by entry."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            place(entry, target / entry.name)
    else:
        shutil.move(source, target)
