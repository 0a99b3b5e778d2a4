"""Archives of artifacts, as the executor makes and opens them (workflow/executor, workflow/artifacts/archive)."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError)


def pack(source: Path, target: Path, level: int = 6) -> None:
    """Write a gzip'd tar with the file or folder under its own name.

    Args:
        source: the file or folder.
        target: the tarball.
        level: gzip's, 0 (none) to 9.
    """
    with tarfile.open(target, "w:gz", compresslevel=level) as archive:
        archive.add(source, arcname=source.name)


def pack_zip(source: Path, target: Path) -> None:
    """Write a zip with the file, or the folder's files, below its own name; links are left out, a zip has none."""
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in paths:
            if not path.is_symlink():
                archive.write(path, path.relative_to(source.parent))


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


def unpack(source: Path, target: Path, *, zipped: bool = False, spend: Callable[[int], None] | None = None) -> None:
    """Open an archive at `target`: its only entry becomes `target`, several become a folder of that name.

    Args:
        source: a gzip'd tar, or a zip.
        target: where its content goes.
        zipped: whether it is a zip.
        spend: is told of each entry's size before it is written.

    Raises:
        tarfile.TarError: the tarball is damaged, or an entry would leave the folder.
        zipfile.BadZipFile: the zip is damaged.
    """
    folder = target.with_name(target.name + ".unpacked")
    folder.mkdir(parents=True)
    spend = spend or _ignore
    try:
        if zipped:
            with zipfile.ZipFile(source) as archive:
                for info in archive.infolist():
                    spend(info.file_size)
                    archive.extract(info, folder)  # drops what leads upwards
        else:
            with tarfile.open(source, "r:gz") as tar:
                for member in tar:
                    spend(member.size)
                    tar.extract(member, folder, filter="data")
        entries = list(folder.iterdir())
        place(entries[0] if len(entries) == 1 else folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ignore(size: int) -> None:
    del size


def place(source: Path, target: Path) -> None:
    """Move a file or folder to its place; into a mounted folder that is there already, entry by entry."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            place(entry, target / entry.name)
    else:
        shutil.move(source, target)
