"""Cached Python environments: what stands in for an image's file system.

One environment per content of a requirements file and per Python, made by `uv` once and shared by every run. It is
built in a temporary folder and renamed when it is complete, under a lock, so that a crash leaves no half environment
and two processes that want the same one make it once.

    python -m meta.sandbox.environments --root DIR --images FILE [--images FILE ...]

prepares every environment of an images table and prints a line for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from meta.processes import spawn
from meta.sandbox.images import ImageTable
from workflows.errors import BinaryMissing, HostError, MetaError, SettingsInvalid

_FORMAT = "1"  # part of every key: raise it when the way environments are built changes
_LOCK_POLL_S = 0.1


class EnvironmentCache:
    """Environments under one folder: `<root>/<key>` with `bin/python` inside."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def root(self) -> Path:
        return self._root

    async def prepare(self, requirements: Path | None, *, with_kfp: bool = False) -> Path:
        """Make the environment for a requirements file, or find it.

        Args:
            requirements: the file; hashes are required for all when it has any. None for the standard library alone.
            with_kfp: also install the kfp of our own version and docker, which kfp's local runner imports.

        Returns:
            The environment's folder.

        Raises:
            SettingsInvalid: the requirements file does not exist.
            BinaryMissing: uv is not installed beside our own Python.
            HostError: the installation failed; the message ends with the last lines of uv's output.
        """
        folder = self._folder(requirements, with_kfp=with_kfp)
        if _ready(folder):
            return folder
        self._root.mkdir(parents=True, exist_ok=True)
        async with _locked(self._root / f"{folder.name}.lock"):
            if not _ready(folder):
                await self._build(folder, requirements, with_kfp=with_kfp)
        return folder

    def find(self, requirements: Path | None, *, with_kfp: bool = False) -> Path | None:
        """The environment's folder if it is ready, else None."""
        folder = self._folder(requirements, with_kfp=with_kfp)
        return folder if _ready(folder) else None

    def _folder(self, requirements: Path | None, *, with_kfp: bool) -> Path:
        return self._root / _key(requirements, with_kfp=with_kfp)

    async def _build(self, folder: Path, requirements: Path | None, *, with_kfp: bool) -> None:
        log = self._root / f"{folder.name}.log"
        log.unlink(missing_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=self._root))
        try:
            built = temporary / "env"
            python = built / "bin" / "python"
            base = str(getattr(sys, "_base_executable", sys.executable))
            # relocatable: scripts find their interpreter beside them, also after the rename
            await _uv(log, "venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", base, str(built))
            if requirements is not None:
                arguments = ["pip", "install", "--python", str(python), "--requirements", str(requirements)]
                if "--hash=" in requirements.read_text(encoding="utf-8"):
                    arguments.append("--require-hashes")
                await _uv(log, *arguments)
            if with_kfp:
                await _install_kfp(log, python, temporary / "constraints.txt")
            shutil.rmtree(folder, ignore_errors=True)  # there, but not ready: its base interpreter is gone
            built.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        log.unlink(missing_ok=True)


async def _install_kfp(log: Path, python: Path, constraints: Path) -> None:
    """Install kfp as we have it: the same versions of all it needs, if the environment's own pins leave room."""
    wanted = [f"kfp=={importlib.metadata.version('kfp')}", "docker"]
    pins = sorted({f"{dist.name}=={dist.version}" for dist in importlib.metadata.distributions()})
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    install = ["pip", "install", "--python", str(python), *wanted]
    try:
        await _uv(log, *install, "--constraints", str(constraints))
    except HostError:
        await _uv(log, *install)


async def _uv(log: Path, *arguments: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        raise BinaryMissing(
            f"{uv}: uv is missing; it makes the environments that sandbox runs execute in.",
            hint="Install the embedded stack: pip install 'meta-workflows[embedded]'.",
        )
    with log.open("ab") as output:
        process = await spawn(
            [str(uv), "--no-progress", "--color=never", *arguments],
            env=_uv_environment(os.environ),
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await process.stop(grace_s=2.0)
            raise
    if code != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise HostError(
            f"uv {' '.join(arguments[:2])} failed with exit code {code}; full output in {log}\n{tail}",
            hint="Check the requirements file, and that pip's package index can be reached from this machine.",
        )


def _uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Our environment, with pip's package index handed on to uv, which does not read pip's settings."""
    env = {key: value for key, value in environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}}
    for theirs, ours in (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ):
        if theirs in env:
            env.setdefault(ours, env[theirs])
    return env


def _key(requirements: Path | None, *, with_kfp: bool) -> str:
    """A name by content: the requirements, the Python that runs them, and the kfp beside them."""
    if requirements is None:
        content, stem = b"", "bare"
    else:
        try:
            content, stem = requirements.read_bytes(), requirements.stem
        except OSError as error:
            raise SettingsInvalid(f"{requirements}: the requirements file cannot be read: {error}.") from error
    python = f"{sys.implementation.cache_tag} {sys.version_info[:3]} {sysconfig.get_platform()} {sys.base_prefix}"
    kfp = f"kfp=={importlib.metadata.version('kfp')}" if with_kfp else ""
    digest = hashlib.sha256(b"\0".join([_FORMAT.encode(), python.encode(), kfp.encode(), content])).hexdigest()
    return f"{stem}{'-kfp' if with_kfp else ''}-{digest[:16]}"


def _ready(folder: Path) -> bool:
    return os.access(folder / "bin" / "python", os.X_OK)  # follows the link: a base interpreter that is gone counts


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncGenerator[None]:
    """Hold a lock that other processes see and that ends with its process."""
    with path.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_S)  # a blocking wait in a thread could not be cancelled
        yield


async def prepare_all(cache: EnvironmentCache, table: ImageTable, *, with_kfp: bool = False) -> None:
    """Prepare the bare environment and every environment of a table, a printed line for each.

    Args:
        cache: where they are kept.
        table: the images.
        with_kfp: also the environment of KFP components that name no package and no image of the table.
    """
    wanted: list[tuple[str, Path | None, bool]] = [("standard library", None, False)]
    if with_kfp:
        wanted.append(("standard library and kfp", None, True))
    seen: set[Path] = set()
    for name, image in table.images.items():
        if image.requirements is not None and image.requirements not in seen:
            seen.add(image.requirements)
            wanted.append((name, image.requirements, False))
    for number, (name, requirements, kfp) in enumerate(wanted, start=1):
        known = cache.find(requirements, with_kfp=kfp) is not None
        print(f"[{number}/{len(wanted)}] {name}: {'ready' if known else 'preparing'}", flush=True)
        await cache.prepare(requirements, with_kfp=kfp)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m meta.sandbox.environments", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--images", type=Path, action="append", nargs="+", default=[], help="images table (TOML)")
    parser.add_argument("--with-kfp", action="store_true", help="also the one of KFP components that name no package")
    options = parser.parse_args(argv)
    files = [file for group in options.images for file in group]
    try:
        asyncio.run(prepare_all(EnvironmentCache(options.root), ImageTable.load(files), with_kfp=options.with_kfp))
    except MetaError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
