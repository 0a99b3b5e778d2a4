from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import pytest

from meta.processes import start_mark
from meta.stack import EmbeddedStack, StackEvent, StackOptions
from meta.stack.launcher import stop
from meta.stack.state import DataFolder, PartState, StackState

DEADLINE_S = 30.0


def wait_until(condition: Callable[[], bool], what: str, timeout: float = DEADLINE_S) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"still not after {timeout} s: {what}"
        time.sleep(0.02)


async def until(condition: Callable[[], bool], what: str, timeout: float = DEADLINE_S) -> None:
    await asyncio.to_thread(wait_until, condition, what, timeout)


def is_gone(pid: int) -> bool:
    return not start_mark(pid)


def pids_of(state: StackState) -> list[int]:
    return [pid for part in state.parts.values() if part.group for pid in (part.pid, part.group.pid)]


@dataclass
class Events:
    seen: list[StackEvent] = field(default_factory=list[StackEvent])

    def __call__(self, event: StackEvent) -> None:
        self.seen.append(event)


@asynccontextmanager
async def running(folder: Path, *parts: str, events: Events | None = None) -> AsyncGenerator[EmbeddedStack]:
    async with EmbeddedStack(StackOptions(data_dir=folder, parts=parts, listener=events or Events())) as stack:
        yield stack


class Command:
    """`meta ...` in processes of their own; whatever they leave is ended after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataFolder(folder)
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._words(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder.parent
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(*arguments), capture_output=True, text=True, timeout=60, check=False, cwd=self.folder.parent
        )

    def up(self, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
        """In the foreground, until it has printed its addresses."""
        process = self.start("up", *arguments, "--output", "json")
        line = cast("IO[str]", process.stdout).readline()
        assert line, cast("IO[str]", process.stderr).read()
        return process, cast("dict[str, str]", json.loads(line))

    def state(self) -> StackState:
        return self.data.load()

    def all_ready(self) -> bool:
        parts = self.state().parts
        return bool(parts) and all(part.state is PartState.READY for part in parts.values())

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        if self.data.state_file.exists():
            stop(self.data)

    def _words(self, command: str, *arguments: str) -> list[str]:
        module, words = ("meta", ["sandbox", command]) if command in ("argo", "kfp") else ("meta.stack", [command])
        return [sys.executable, "-m", module, *words, "--data-dir", str(self.folder), *arguments]


@pytest.fixture
def meta(tmp_path: Path) -> Generator[Command]:
    command = Command(tmp_path / "data")
    yield command
    command.end()


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without the embedded stack's programs."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setattr("meta.stack.binaries.sys.executable", str(empty / "python"))
    monkeypatch.setenv("PATH", str(empty) + os.pathsep)
