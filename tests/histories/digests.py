"""Refuses an edited history: `python -m tests.histories.digests` adds the digests of new ones, and changes none.

A recorded history stands for runs that are in flight somewhere. To edit or to record it again would hide that such
runs no longer replay.
"""

from __future__ import annotations

import hashlib
import sys

from tests.histories.scenarios import FOLDER

FILE = FOLDER / "DIGESTS"
"""A line for each history: SHA-256 and name, as `sha256sum` writes and checks them."""


def listed() -> dict[str, str]:
    """Digests by name, as they were when the histories were recorded."""
    pairs = [line.split() for line in FILE.read_text().splitlines()] if FILE.exists() else []
    return {name: digest for digest, name in pairs}


def found() -> dict[str, str]:
    """Digests by name, of the files as they are."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in FOLDER.glob("*.json")}


def faults(known: dict[str, str], present: dict[str, str]) -> list[str]:
    """What was edited, taken away or not listed."""
    edited = [f"{n} is not what was recorded: restore it" for n in known if n in present and present[n] != known[n]]
    gone = [f"{n} is gone: restore it, runs like it may still be in flight" for n in known if n not in present]
    new = [f"{n} is new: python -m tests.histories.digests" for n in present if n not in known]
    return sorted((*edited, *gone, *new))


def add() -> int:
    known, present = listed(), found()
    wrong = [fault for fault in faults(known, present) if " is new: " not in fault]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    lines = sorted(f"{digest}  {name}" for name, digest in present.items())
    FILE.write_text("".join(f"{line}\n" for line in sorted(lines, key=lambda line: line.split()[1])))
    return 0


if __name__ == "__main__":
    sys.exit(add())
