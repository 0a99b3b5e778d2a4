"""The text of commands and messages."""

import re

LONGEST_MESSAGE = 2000


def without_pip_install(command: list[str]) -> list[str]:
    """Drop the wrapper that installs packages and then runs the rest: `sh -c '... pip install ... "$0" "$@"' ...`."""
    if len(command) > 3 and command[:2] == ["sh", "-c"] and "pip install" in command[2] and '"$0" "$@"' in command[2]:
        return command[3:]
    return command


def plain(text: str) -> str:
    """Without the colours that kfp.local puts into its messages."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def last_words(lines: list[str]) -> str:
    """What went wrong: the exception that ended a Python program, else the last line."""
    said = [line.rstrip() for line in lines if line.strip()]
    starts = [number for number, line in enumerate(said) if line.startswith("Traceback (most recent call last)")]
    if starts:
        for number in range(starts[-1] + 1, len(said)):
            if not said[number].startswith(" "):
                return "\n".join(said[number:])[:LONGEST_MESSAGE]
    return said[-1].strip()[:LONGEST_MESSAGE] if said else "no output"
