"""Lists whose words are there to be copied: nothing is cut, and what is long stands on lines of its own."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def print_list(
    console: Console, heads: Sequence[str], rows: Sequence[tuple[Sequence[str | Text], Sequence[str]]]
) -> None:
    """Print rows in columns.

    Args:
        console: where.
        heads: of the columns.
        rows: cells of each, and lines to stand below it, indented.
    """
    every = [heads, *(cells for cells, _ in rows)]
    widths = [max(cell_len(str(cells[at])) for cells in every) for at in range(len(heads))]

    def line(cells: Sequence[str | Text], style: str = "") -> None:
        made = Text("", style=style)
        for cell, width in zip(cells, widths, strict=True):
            made.append_text(Text.assemble(cell, " " * (width - cell_len(str(cell)) + 2)))
        made.rstrip()
        console.print(made, soft_wrap=True)

    line(heads, "bold")
    for cells, below in rows:
        line(cells)
        for words in below:
            console.print(Text(f"    {words}"), soft_wrap=True)
