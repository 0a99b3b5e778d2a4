"""Text from outside inside Markdown, where it stays text: engines, programs in pods and users write anything.

The Web UI of Temporal renders Markdown on its server, with tables, HTML and mathematics between dollars. A backslash
before a sign takes the meaning from it, there and in CommonMark.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from workflows.values import canonical_json

SUMMARY_LIMIT = 400
"""Bytes of a summary, as JSON: Temporal's `limit.userMetadataSummarySize` (its API, `UserMetadata`)."""

DETAILS_LIMIT = 20_000
"""Bytes of details, as JSON: Temporal's `limit.userMetadataDetailsSize`. Current details keep within it too."""

NBSP = "\u00a0"
"""A space at which no line is broken."""

_SIGNS = re.compile(r"[\\`*_\[\]<>|~#&$^]")
_AT_START = re.compile(r"^(\d*)([-+=:.)])")  # of lists, of underlines of headings, of definitions
_IN_URL = "/:?#@!$&'*+,;=%~"


def plain(text: str, limit: int) -> str:
    """One line that reads as the text does, with nothing in it that Markdown or HTML acts on.

    Args:
        text: from anywhere.
        limit: characters that are kept, before signs are escaped.
    """
    escaped = _SIGNS.sub(r"\\\g<0>", cut(text, limit))
    return _AT_START.sub(r"\1\\\2", escaped)


def cut(text: str, limit: int) -> str:
    """One line of at most so many characters, of those that can be printed."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def code(text: str, limit: int) -> str:
    """An id or a command, to copy; not for cells of a table."""
    return f"`{cut(text, limit).replace('`', '')}`"


def link(text: str, url: str) -> str:
    """A link, where the address is one of the web; else the text alone.

    Args:
        text: is safe already.
        url: from the configuration of an engine.
    """
    if not url.startswith(("http://", "https://")):
        return text
    return f"[{text}]({quote(url, safe=_IN_URL)})"


def block(lines: list[str], width: int) -> list[str]:
    """Lines of a program, as they are; indented, so that no line of theirs can end the block.

    Args:
        lines: of a log.
        width: characters that are kept of each.
    """
    return [f"    {line if len(line) <= width else line[: width - 1] + '…'}" for line in map(_shown, lines)]


def size(text: str) -> int:
    """Bytes that a text takes up as JSON, by which Temporal measures it; a bit more where it is put into another."""
    return len(canonical_json(text))


def fit(text: str, limit: int) -> str:
    """As many whole lines of a text as a limit of `size` lets in; of a single long line its beginning."""
    if size(text) <= limit:
        return text
    left = limit - size("\n…")
    kept: list[str] = []
    for line in text.split("\n"):
        left -= size(line)  # its quotation marks make up for the line break
        if left < 0:
            break
        kept.append(line)
    return "\n".join([*kept, "…"]) if kept else _beginning(text, limit)


def _beginning(text: str, limit: int) -> str:
    shown = text[:limit]
    while size(f"{shown}…") > limit:
        shown = shown[: len(shown) - max(1, (size(shown) - limit) // 6)]
    return f"{shown}…"


def _shown(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)
