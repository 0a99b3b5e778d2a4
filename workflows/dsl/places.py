"""Where the parts of a definition stand in the Python file that builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from workflows.spec.locate import NOWHERE, Locator, Span
from workflows.spec.locate import Path as Place


@dataclass
class Places:
    """Remembers which line made what.

    Attributes:
        file: of Python; what is typed at a prompt has none.
        lines: from 1, by the place in the definition.
    """

    file: str
    lines: dict[Place, int] = field(default_factory=dict[Place, int])

    def note(self, place: Place, frame: FrameType) -> None:
        """A call in this frame made what stands there; calls in other files have no line here."""
        if frame.f_code.co_filename == self.file:
            self.lines[place] = frame.f_lineno

    @property
    def folder(self) -> Path | None:
        """The definition's, to which paths in it are relative; None when no file made it."""
        return Path(self.file).resolve().parent if Path(self.file).is_file() else None

    def shown(self, place: Place) -> str:
        """`train.py:12`."""
        line = self.lines.get(place)
        return f"{Path(self.file).name}:{line}" if line is not None else "here"


def locator(file: Path, lines: Mapping[Place, int], shown: str) -> Locator:
    """Finds the line of a Python file that made a part of a definition.

    Args:
        file: of Python.
        lines: see `Places`.
        shown: the file's name in messages.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return NOWHERE
    spans: dict[Place, Span] = {}
    for place, line in lines.items():
        before = text.splitlines(keepends=True)[: line - 1]
        start = sum(map(len, before))
        indent = len(text[start:]) - len(text[start:].lstrip(" \t"))
        spans[place] = Span(start + indent, start + indent)
    return Locator(shown, text, {}, {(): Span(0, 0), **spans})
