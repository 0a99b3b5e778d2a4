# pyright: basic
# (kfp has no types)
"""Values of tasks as events carry them, and the text of commands and messages."""

import re
from typing import Any

from kfp import dsl


def join(parent: str, name: str) -> str:
    return f"{parent}/{name}"


def parameters_of(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not holds_artifacts(value)}


def artifacts_of(values: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        key: [
            {"uri": artifact.uri, "type": artifact.schema_title, "metadata": artifact.metadata}
            for artifact in (value if isinstance(value, list) else [value])
        ]
        for key, value in values.items()
        if holds_artifacts(value)
    }


def holds_artifacts(value: Any) -> bool:
    return isinstance(value, dsl.Artifact) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dsl.Artifact) for item in value)
    )


def without_pip_install(command: list[str]) -> list[str]:
    """Drop the wrapper that installs packages and then runs the rest: `sh -c '... pip install ... "$0" "$@"' ...`."""
    if len(command) > 3 and command[:2] == ["sh", "-c"] and "pip install" in command[2] and '"$0" "$@"' in command[2]:
        return command[3:]
    return command


def plain(text: str) -> str:
    """Without the colours that kfp.local puts into its messages."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def last_words(lines: list[str]) -> str:
    """The line that says what went wrong: for Python the last one, `ValueError: ...`."""
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "no output"
