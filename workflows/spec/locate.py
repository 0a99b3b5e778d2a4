"""Where things stand in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from workflows.errors import Problem

Path = tuple[str | int, ...]
"""Where in a document: keys and positions, as `("steps", "train", "needs", 0)`."""


def show_path(path: Path) -> str:
    """`steps.train.needs[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of a node in the text, in code points, `end` exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class Locator:
    """Finds the place of a path in a definition's text.

    Attributes:
        file: as the user named it; empty for text that came over the API.
        text: of the whole file; empty for a definition built in Python, whose places are paths alone.
        keys: where each key stands.
        values: where each value stands.
    """

    file: str
    text: str
    keys: Mapping[Path, Span]
    values: Mapping[Path, Span]

    def problem(
        self, path: Path, message: str, *, hint: str = "", key: bool = False, within: tuple[str, int] | None = None
    ) -> Problem:
        """A problem at a path, or at the nearest thing above it that the file has.

        Args:
            path: where in the document.
            message: what is wrong.
            hint: the mend.
            key: the problem is with the key, not with its value.
            within: a piece of the value's text, and an offset in it: the exact place.
        """
        line, column = self._place(path, key, within)
        return Problem(message, self.file, line, column, show_path(path), hint)

    def _place(self, path: Path, key: bool, within: tuple[str, int] | None) -> tuple[int, int]:
        span = self.keys.get(path) if key else None
        at = path
        while span is None:
            span = self.values.get(at)
            if span is None and not at:
                return 0, 0
            at = at[:-1]
        offset = span.start
        if within is not None:
            # Escapes make a value differ from its text; then the value's own start must do.
            exact = self._inside(span, *within)
            offset = exact if exact is not None else offset
        line = self.text.count("\n", 0, offset)
        return line + 1, offset - (self.text.rfind("\n", 0, offset) + 1) + 1

    def _inside(self, span: Span, piece: str, inside: int) -> int | None:
        """Offset in the file of an offset in a piece of a value; blocks indent and fold what the value joins."""
        words = list(re.finditer(r"\S+", piece))
        pattern = r"\s+".join(f"({re.escape(word.group())})" for word in words)
        match = re.compile(pattern).search(self.text, span.start, span.end)
        if match is None or not words:
            return None
        at = max((i for i, word in enumerate(words) if word.start() <= inside), default=0)
        return match.start(at + 1) + max(inside - words[at].start(), 0)


NOWHERE = Locator("", "", {}, {})
"""For a definition that has no text."""
