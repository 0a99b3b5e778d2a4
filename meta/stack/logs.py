"""One log file per part, in the data folder's `logs`: turned over at each start, bounded while it grows."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

from meta.telemetry.log_lines import as_text

KEPT = 3  # earlier files
LIMIT = 10 * 1024 * 1024  # bytes, of the current file


class Logs:
    """The log files of one stack."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def turn_over(self, name: str) -> None:
        """Make way for a new file; called once per start of the stack, not per restart of a part."""
        self._folder.mkdir(parents=True, exist_ok=True)
        current = self.file(name)
        for number in range(KEPT - 1, 0, -1):
            older = current.with_name(f"{current.name}.{number}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(current.with_name(f"{current.name}.{number + 1}"))
        with contextlib.suppress(FileNotFoundError):
            current.replace(current.with_name(f"{current.name}.1"))

    def open(self, name: str) -> BinaryIO:
        """A file for a child's output. In append mode, so that `bound` may cut it under the child's hands."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self.file(name).open("ab")

    def bound(self, limit: int = LIMIT) -> None:
        """Keep the second half of every file that is over the limit (bytes).

        A line or two that a child writes during the cut may be lost.
        """
        for file in self._folder.glob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                size = file.stat().st_size
                if size <= limit:
                    continue
                with file.open("r+b") as stream:
                    stream.seek(size - limit // 2)
                    stream.readline()  # begin with a whole line
                    rest = stream.read()
                    os.truncate(file, 0)
                    with file.open("ab") as again:
                        again.write(rest)

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines, for an error message; empty when there is no log. JSON is written out as text."""
        try:
            with self.file(name).open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 16_384))
                text = stream.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        shown = "\n".join(as_text(line) for line in text.split("\n")[-lines - 1 :])
        return "\n".join(shown.splitlines()[-lines:])
