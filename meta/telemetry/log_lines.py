"""Reads lines of logs, whichever form they have."""

from __future__ import annotations

import json
from typing import cast

_ABOUT = ("run", "step", "attempt", "activity")


def as_text(line: str) -> str:
    """A line as people read it: one that is a JSON object of ours in the form of the text log, any other as it is."""
    if not line.startswith("{"):
        return line
    try:
        found = json.loads(line)
    except ValueError:
        return line
    if not isinstance(found, dict) or not {"time", "level", "logger", "message"} <= found.keys():
        return line
    said = cast("dict[str, object]", found)
    text = f"{said['time']} {str(said['level']).upper()} {said['logger']} {said['message']}"
    about = " ".join(f"{name}={said[name]}" for name in _ABOUT if name in said)
    text += f" [{about}]" if about else ""
    return f"{text}\n{said['exception']}" if "exception" in said else text
