"""Process groups that a killed server left behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from meta.processes import kill_group
from meta.sandbox.argo.state.store import ProcessRecord


def start_mark(pid: int) -> str:
    """What tells this process from a later one of the same number: the boot and the time it started; "" if gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return f"{boot} {stat.rpartition(')')[2].split()[19]}"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def kill_leftover(record: ProcessRecord) -> bool:
    """Kill a recorded group if it is still the one that was recorded.

    Returns:
        True if it was there.
    """
    if not record.started:
        return False
    found = start_mark(record.pgid)
    if found:
        return found == record.started and kill_group(record.pgid)
    # The leader is gone. Its number is not given out again while its group lives, unless the machine was restarted.
    boot = record.started.split(" ")[0]
    return _group_exists(record.pgid) and _boot() == boot and kill_group(record.pgid)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _group_exists(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
