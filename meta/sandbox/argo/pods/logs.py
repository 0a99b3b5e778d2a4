"""A pod's log: the lines of its standard output and error in the order they came, limited in size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

LIMIT = 1024 * 1024
_LINE_LIMIT = 64 * 1024


class PodLog:
    """A log file that is being written; readers can follow it."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        """Begin an empty log.

        Args:
            path: its file.
            limit: bytes that are kept; what comes later is dropped, and a last line says so.
        """
        self._file: BinaryIO | None = None  # opened by the first line: pods that wait need no file
        self._path, self._limit, self._size, self._full = path, limit, 0, False
        self.closed = False
        self._changed = asyncio.Event()

    @property
    def path(self) -> Path:
        return self._path

    def write(self, line: bytes) -> None:
        """Add one line, without its end; `drain` shows it to readers."""
        if self._full or self.closed:
            return
        if self._size + len(line) + 1 > self._limit:
            self._full = True
            line = b"[the sandbox keeps %d bytes of a pod's log; the rest is not kept]" % self._limit
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        self._file.write(line + b"\n")
        self._size += len(line) + 1

    def close(self) -> None:
        self.closed = True
        if self._file is not None:
            self._file.close()
        self._notify()

    def _notify(self) -> None:
        if self._file is not None and not self.closed:
            self._file.flush()
        self._changed.set()
        self._changed = asyncio.Event()

    async def drain(self, stream: asyncio.StreamReader, tail: bytearray | None = None, tail_limit: int = 0) -> None:
        """Copy a stream to its end, line by line.

        Args:
            stream: a pipe from the process.
            tail: gets the last bytes of the stream, all of it, not only what the log keeps.
            tail_limit: how many.
        """
        rest = b""
        while chunk := await stream.read(_LINE_LIMIT):
            if tail is not None:
                tail.extend(chunk)
                del tail[: max(0, len(tail) - tail_limit)]
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.write(line)
            if len(rest) > _LINE_LIMIT:
                self.write(rest)
                rest = b""
            self._notify()
        if rest:
            self.write(rest)
            self._notify()

    async def follow(self) -> AsyncIterator[str]:
        """All lines, the coming ones too, until the log is closed."""
        offset = 0
        while True:
            changed, closed = self._changed, self.closed
            lines, offset = read_lines(self._path, offset)
            for line in lines:
                yield line
            if closed:
                return
            await changed.wait()


class PodLogs:
    """The logs of a pod's containers, each in a file of its own."""

    def __init__(self, folder: Path) -> None:
        """Begin them in a folder."""
        self._folder = folder
        self._logs: dict[str, PodLog] = {}
        self._closed = False

    def of(self, container: str) -> PodLog:
        """A container's log, begun if it is not there."""
        if container not in self._logs:
            self._logs[container] = PodLog(log_path(self._folder, container))
            if self._closed:
                self._logs[container].close()
        return self._logs[container]

    def close(self) -> None:
        self._closed = True
        for log in self._logs.values():
            log.close()


def log_path(folder: Path, container: str) -> Path:
    """Where a container's log lies in its pod's folder."""
    return folder / f"{Path(container).name}.log"


def read_lines(path: Path, offset: int = 0) -> tuple[list[str], int]:
    """The whole lines of a log file from an offset on, and the offset behind them; none if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole, _, _ = data.rpartition(b"\n")
    if not whole and not data.startswith(b"\n"):
        return [], offset
    return whole.decode(errors="replace").split("\n"), offset + len(whole) + 1
