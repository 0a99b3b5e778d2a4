"""Processes of an earlier life of the stack: told from strangers, and ended.

A process number alone says nothing, it may be another's by now. A process is ours when its start time is the recorded
one, or when its environment carries the stack's instance id (the guard may be gone while its group lives on).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from meta.processes import kill_group, start_mark
from meta.stack.state import ProcessMark, StackState

INSTANCE_VARIABLE = "META_STACK_INSTANCE"
_PROC = Path("/proc")


def mark(pid: int) -> ProcessMark:
    """Note a process so that it can be recognised later."""
    return ProcessMark(pid=pid, started=start_mark(pid))


def is_alive(process: ProcessMark | None) -> bool:
    """Whether that very process still runs."""
    return process is not None and bool(process.started) and start_mark(process.pid) == process.started


def end_leftovers(state: StackState) -> list[str]:
    """Kill what is left of an earlier life, and wait until it is gone.

    Args:
        state: of that life; its supervisor must be known to be dead.

    Returns:
        The names of the parts of which something was left.
    """
    left: list[str] = []
    groups = _groups_of(state.instance)
    for name, part in state.parts.items():
        if part.group is None:
            continue
        if (is_alive(part.group) or part.group.pid in groups) and kill_group(part.group.pid):
            left.append(name)
            groups.add(part.group.pid)
    for group in groups:  # also what parts started in groups of their own, as sandboxes do for runs
        kill_group(group)
    _wait_gone(groups)
    return left


def _groups_of(instance: str) -> set[int]:
    """Process groups with a member that carries the instance id (Linux; elsewhere none can be seen)."""
    wanted = f"{INSTANCE_VARIABLE}={instance}".encode()
    groups: set[int] = set()
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or it ended
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                groups.add(int((folder / "stat").read_text().rpartition(")")[2].split()[2]))
    return groups


def _wait_gone(groups: Iterable[int], timeout: float = 5.0) -> None:
    """Killed processes free their ports and files only when the kernel has taken them down."""
    end = time.monotonic() + timeout
    pending = set(groups)
    while pending and time.monotonic() < end:
        alive = {_group(folder) for folder in _PROC.glob("[0-9]*")}
        pending &= alive
        if pending:
            time.sleep(0.02)


def _group(folder: Path) -> int:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended
        return 0
    return 0 if fields[0] in "ZX" else int(fields[2])
