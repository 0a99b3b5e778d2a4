"""Which processes there are, on systems with /proc; elsewhere nothing can be said and lists are empty."""

from __future__ import annotations

import asyncio
from pathlib import Path


def processes_with(text: str) -> dict[int, str]:
    """Command lines of the processes that have a text in their command line or environment."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*") if Path("/proc").is_dir() else ():
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended, or is somebody else's
        if text.encode() in command + environment:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


async def no_process_with(text: str, timeout_s: float = 20.0) -> None:
    """Wait until no process mentions a text.

    Raises:
        AssertionError: some still do; with their command lines.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while found := processes_with(text):
        assert loop.time() < deadline, found
        await asyncio.sleep(0.1)
