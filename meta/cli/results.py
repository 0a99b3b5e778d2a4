"""How a run went, as files: for whoever runs the command inside something else, as an Argo node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from workflows.errors import InvalidInput
from workflows.outcome import RunState
from workflows.values import JsonObject

ResultsOption = Annotated[
    Path | None,
    typer.Option("--results", metavar="DIR", help="Write files there: run, state, message, outputs (JSON)."),
]


class Results:
    """Files `run`, `state`, `message` and `outputs` in a folder; all of them are there from the start.

    Args:
        folder: None writes nothing.

    Raises:
        InvalidInput: they cannot be written there.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        for name, text in (("run", ""), ("state", ""), ("message", ""), ("outputs", "{}")):
            self._write(name, text)

    def started(self, run_id: str) -> None:
        """The run is known."""
        self._write("run", run_id)
        self._write("state", RunState.RUNNING.value)

    def awaited(self, run_id: str) -> None:
        """The run's id is known, not yet whether there is one."""
        self._write("run", run_id)

    def unknown(self, message: str) -> None:
        """Nobody could say how it went."""
        self._write("message", message)

    def ended(self, state: RunState, message: str, outputs: JsonObject) -> None:
        """The run has ended."""
        self._write("state", state.value)
        self._write("message", message)
        self._write("outputs", json.dumps(outputs, ensure_ascii=False))

    def _write(self, name: str, text: str) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"--results {self._folder}: {error.strerror}", hint="name a folder of yours") from error
