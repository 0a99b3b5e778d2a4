"""The pages of the documentation, taken apart: fenced snippets, links, headings, words in backquotes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALL = ("README.md", "CHANGELOG.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")))
"""Every page, from the root of the tree."""

HERE = (
    "README.md",
    "docs/real-cluster.md",
    "docs/retries-and-cancellation.md",
    "docs/architecture.md",
    "docs/artifacts.md",
)
"""Pages whose snippets are tested here; those of the others are tested beside what they describe."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block.

    Attributes:
        line: of its first line in the page.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Of a console block: what stands after the prompts."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def read(page: str) -> str:
    return (ROOT / page).read_text()


def snippets(*languages: str, pages: tuple[str, ...] = HERE) -> list[Snippet]:
    """Blocks in these languages; without languages all."""
    found: list[Snippet] = []
    for page in pages:
        text = read(page)
        for match in _FENCE.finditer(text):
            if not languages or match[1] in languages:
                found.append(Snippet(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2]))
    return found


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def links(page: str) -> list[str]:
    return [match[1] or match[2] for match in _LINK.finditer(re.sub(r"`[^`\n]+`", "", prose(page)))]


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings get, as GitHub makes them."""
    headings: list[str] = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def backquoted(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))
