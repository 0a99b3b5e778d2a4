"""The embedded stack as a process of its own, to be killed as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from meta.stack import Addresses, PartName
from tests.support.chain import environments_folder


class StackCommand:
    """`meta up` in a process; leaving the context stops it.

    Args:
        folder: its data folder.
        images: an images table beside the catalogue's.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self._folder = folder
        self._images = images
        self._process: subprocess.Popen[str] | None = None

    def up(self, *parts: PartName) -> Addresses:
        """Start it, or only some parts and what they need, and wait until all is ready."""
        command = [sys.executable, "-m", "meta", "up", "--data-dir", str(self._folder), "--output", "json"]
        command += ["--environments", str(environments_folder())]
        if self._images is not None:
            command += ["--images", str(self._images)]
        for part in parts:
            command += ["--part", part]
        log = (self._folder.parent / "up.log").open("a")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        log.close()
        assert line, (self._folder.parent / "up.log").read_text()
        return Addresses(**json.loads(line))

    def kill(self) -> None:
        """SIGKILL to the supervisor: nothing gets to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
