"""Process groups that a killed server left behind."""

from __future__ import annotations

import os

from meta.processes import boot_mark, kill_group, start_mark
from meta.sandbox.argo.state.store import ProcessRecord


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
    return _group_exists(record.pgid) and boot_mark() == boot and kill_group(record.pgid)


def _group_exists(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
