"""A trace in a terminal: a bar for every row, then where the time went. Readable without colours too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from meta.trace.analysis import by_whose, sums
from meta.trace.picture import LOOKS, OURS, THE_RUN, Bar, Look, Picture, Row, share, short_time

_GLYPHS: Mapping[Look, tuple[str, str]] = {  # in UTF-8, in ASCII
    Look.WORKING: ("█", "#"),
    Look.QUEUEING: ("░", "."),
    Look.RETRYING: ("▒", "%"),
    Look.OURS: ("▪", "o"),
    Look.FAILED: ("█", "#"),
    Look.CACHED: ("█", "#"),
    Look.HOLDER: ("─", "-"),
    Look.FOLDED: ("▓", "="),
}
_COLOURS: Mapping[Look, str] = {
    Look.WORKING: "green",
    Look.QUEUEING: "yellow",
    Look.RETRYING: "magenta",
    Look.OURS: "blue",
    Look.FAILED: "red",
    Look.CACHED: "cyan",
    Look.HOLDER: "dim",
    Look.FOLDED: "green",
}
_STATES: Mapping[str, str] = {
    "succeeded": "green", "running": "cyan", "skipped": "dim", "omitted": "dim", "pending": "dim",
    "cancelled": "yellow", "canceled": "yellow",
}  # fmt: skip
_TIME_WIDTH = 6
_LEAST_BAR, _LEAST_LABEL, _MOST_LABEL = 20, 14, 36
_MARK = "*"
_SHOWN_PROBLEMS = 5
_HEADS = ("working", "queueing", "retrying", "ours")


def print_waterfall(console: Console, picture: Picture, *, run_id: str, trace_id: str = "", url: str = "") -> None:
    """Draw it as wide as the terminal, 80 columns where there is none."""
    console.print(_headline(picture, run_id))
    if picture.goes_on:
        console.print(Text("goes on: drawn up to now; nodes of an engine run show when it has ended", style="yellow"))
    if picture.lead > timedelta(0):
        console.print(Text(f"its cause came {short_time(picture.lead.total_seconds())} before it", style="dim"))
    console.print()
    _print_rows(console, picture)
    console.print()
    _print_problems(console, picture)
    _print_times(console, picture)
    if told := url or trace_id:
        console.print(Text(f"trace {told}", style="dim"), soft_wrap=True)


def _headline(picture: Picture, run_id: str) -> Text:
    state = Text(picture.state, style=_STATES.get(picture.state, "bold red"))
    return Text.assemble((run_id, "bold"), " ", state, f" {short_time(picture.seconds)}")


def _print_rows(console: Console, picture: Picture) -> None:
    ascii_only = console.options.ascii_only
    labels = [_label(row) for row in picture.rows]
    says = [_says(row) for row in picture.rows]
    longest = max(cell_len(label) for row, label in zip(picture.rows, labels, strict=True) if not row.folded)
    tail = min(max(cell_len(said.plain) for said in says), 18)
    room = console.width - 2 - 1 - 1 - _TIME_WIDTH - 2 - tail
    label_width = max(min(longest, _MOST_LABEL, room - _LEAST_BAR), _LEAST_LABEL)
    bar_width = max(room - label_width, 8)
    for row, label, said in zip(picture.rows, labels, says, strict=True):
        if row.folded:
            console.print(Text(f"  {label}", style="dim"), soft_wrap=True)
            continue
        mark = Text(f"{_MARK} " if row.critical else "  ", style="bold")
        name = Text(set_cell_size(label, label_width), style="bold" if row.depth <= 1 and row.span is not None else "")
        if cell_len(label) > label_width:
            name = Text(set_cell_size(label, label_width - 1) + ("~" if ascii_only else "…"))
        bar = _bar(picture, row.bars, bar_width, ascii_only=ascii_only)
        time = "" if row.seconds is None else short_time(row.seconds)
        line = Text.assemble(mark, name, " ", bar, " ", f"{time:>{_TIME_WIDTH}}", "  ", said)
        line.rstrip()
        console.print(line, soft_wrap=True)


def _label(row: Row) -> str:
    return "  " * row.depth + _harmless(row.label)


def _harmless(text: str) -> str:
    """Text of an engine without what would steer the terminal or break the line."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _says(row: Row) -> Text:
    if row.state in ("", "succeeded") and row.note:
        return Text(row.note, style="cyan")
    state = Text(row.state, style=_STATES.get(row.state, "bold red"))
    return Text.assemble(state, f", {row.note}" if row.note else "")


def _bar(picture: Picture, bars: Sequence[Bar], width: int, *, ascii_only: bool) -> Text:
    """A row's bar: each column shows what took most of its time; what is too short for a column still shows."""
    cells: list[tuple[float, Look] | None] = [None] * width
    for bar in bars:
        start, end = picture.place(bar.start) * width, picture.place(bar.end) * width
        first = min(int(start), width - 1)
        last = min(max(int(end - 1e-9), first), width - 1)
        for column in range(first, last + 1):
            covered = min(end, column + 1) - max(start, column)
            known = cells[column]
            if known is None or covered > known[0]:
                cells[column] = (covered, bar.look)
    text = Text()
    for cell in cells:
        if cell is None:
            text.append(" ")
        else:
            text.append(_GLYPHS[cell[1]][ascii_only], style=_COLOURS[cell[1]])
    return text


def _print_problems(console: Console, picture: Picture) -> None:
    for where, words in picture.problems[:_SHOWN_PROBLEMS]:
        console.print(
            Text.assemble((f"{_harmless(where)}: ", "bold red"), _harmless(words.splitlines()[0])), soft_wrap=True
        )
    if len(picture.problems) > _SHOWN_PROBLEMS:
        console.print(Text(f"and {len(picture.problems) - _SHOWN_PROBLEMS:,} more failures"))
    if picture.problems:
        console.print()


def _print_times(console: Console, picture: Picture) -> None:
    """Where the time went: of every step, and of the run along its critical path."""
    rows = [(step.name, step.critical, step.seconds, step.slices) for step in picture.steps]
    if not picture.alone:
        rows.append((THE_RUN, True, picture.seconds, picture.whole))
    if not rows:  # one step that never ran
        return
    name_width = min(max(cell_len(name) for name, *_ in rows), max(console.width - 64, 12))
    console.print(Text("where the time went", style="bold"))
    head = " " * (2 + name_width) + f"{'time':>8}" + "".join(f"{words:>13}" for words in _HEADS)
    console.print(Text(head, style="dim"), soft_wrap=True)
    for name, critical, seconds, slices in rows:
        cells = "".join(f"{share(length, seconds):>13}" for length in by_whose(slices).values())
        mark = _MARK if critical else " "
        line = f"{mark} {set_cell_size(name, name_width)}{short_time(seconds):>8}{cells}"
        console.print(Text(line, style="bold" if name == THE_RUN else ""), soft_wrap=True)
    lengths = sums(picture.whole)
    ours = ", ".join(f"{words} {short_time(lengths[where].total_seconds())}" for where, words in OURS.items())
    console.print(Text(f"  of it ours: {ours}", style="dim"), soft_wrap=True)
    legend = Text("  ")
    for words, look in zip(_HEADS, LOOKS.values(), strict=True):
        legend.append(_GLYPHS[look][console.options.ascii_only], style=_COLOURS[look])
        legend.append(f" {words}   ", style="dim")
    legend.append(f"{_MARK} critical path", style="dim")
    console.print(legend, soft_wrap=True)
