"""A trace as an SVG that stands by itself: it scales, follows the light or dark of whoever looks, and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree

from meta.trace.analysis import by_whose, sums
from meta.trace.markup import Element, add, svg_text
from meta.trace.picture import LOOKS, OURS, Look, Picture, Row, share, short_time
from meta.trace.words import tooltip

_WIDTH, _MARGIN = 1000, 16
_LABELS, _BARS = 266, 500  # widths; the rest is for times and states
_ROW, _BAR = 20, 12  # heights
_TOP, _FOOT = 74, 62
_CHARACTER: Final = 7.25  # width of one in the labels' font
_INDENT = 14
_MOST_TICKS = 8

STYLE = """
.trace { --ground: #ffffff; --line: #d0d7de; --words: #1f2328; --quiet: #59636e; --band: #f6f8fa;
  --working: #2da44e; --queueing: #e3b341; --retrying: #bf5fd0; --ours: #218bff; --failed: #d1242f; --cached: #1b7c83;
  --folded: #8ddb9f; --critical: #bc4c00; }
@media (prefers-color-scheme: dark) { .trace { --ground: #0d1117; --line: #3d444d; --words: #f0f6fc; --quiet: #9198a1;
  --band: #151b23; --working: #3fb950; --queueing: #d29922; --retrying: #bc8cff; --ours: #388bfd; --failed: #f85149;
  --cached: #39c5cf; --folded: #236b34; --critical: #f0883e; } }
.trace text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  fill: var(--words); white-space: pre; }
.trace .title { font-size: 15px; font-weight: 700; }
.trace .strong { font-weight: 700; }
.trace .quiet { fill: var(--quiet); }
.trace .bad { fill: var(--failed); font-weight: 700; }
.trace .mark { fill: var(--critical); font-weight: 700; }
.trace .tick { font-size: 11px; fill: var(--quiet); }
.trace .ground { fill: var(--ground); stroke: var(--line); }
.trace .band { fill: var(--band); }
.trace .grid { stroke: var(--line); stroke-dasharray: 2 3; }
.trace .path { fill: var(--critical); }
.trace .working { fill: var(--working); }
.trace .queueing { fill: var(--queueing); }
.trace .retrying { fill: var(--retrying); }
.trace .ours { fill: var(--ours); }
.trace .failed { fill: var(--failed); }
.trace .cached { fill: var(--cached); }
.trace .folded { fill: var(--folded); }
.trace .holder { fill: var(--quiet); }
"""


def draw(picture: Picture, title: str) -> str:
    """The picture as the text of a file.

    Args:
        picture: what to show.
        title: id of the run.
    """
    root = element(picture, title)
    style = ElementTree.Element("style")
    style.text = STYLE
    root.insert(1, style)  # after the title, which has to come first
    return svg_text(root)


def element(picture: Picture, title: str) -> Element:
    """The picture as an element, which `STYLE` dresses."""
    height = _TOP + len(picture.rows) * _ROW + _FOOT
    root = ElementTree.Element("svg", {"class": "trace", "role": "img", "viewBox": f"0 0 {_WIDTH} {height}"})
    state = f"{picture.state}, so far" if picture.goes_on else picture.state
    add(root, "title", f"{title}: {state}, {short_time(picture.seconds)}")
    add(root, "rect", class_="ground", x=0.5, y=0.5, width=_WIDTH - 1, height=height - 1, rx=8)
    heading = add(root, "text", class_="title", x=_MARGIN, y=28)
    add(heading, "tspan", title)
    add(heading, "tspan", f"  {state}", class_="bad" if picture.state in _BAD else "quiet")
    add(heading, "tspan", f"  {short_time(picture.seconds)}", class_="quiet")
    for number in range(0, len(picture.rows), 2):
        add(root, "rect", class_="band", x=1, y=_TOP + number * _ROW, width=_WIDTH - 2, height=_ROW)
    _axis(root, picture, height)
    for number, row in enumerate(picture.rows):
        _row(root, picture, row, _TOP + number * _ROW)
    _foot(root, picture, height)
    return root


_BAD = frozenset({"failed", "lost", "timed_out", "terminated", "error"})


def _axis(root: Element, picture: Picture, height: int) -> None:
    for seconds, words in _ticks((picture.end - picture.start).total_seconds()):
        x = _left() + seconds * _BARS
        add(root, "line", class_="grid", x1=x, x2=x, y1=_TOP - 8, y2=height - _FOOT + 4)
        add(root, "text", words, class_="tick", x=x, y=_TOP - 14, text_anchor="middle")


def _ticks(whole: float) -> Iterator[tuple[float, str]]:
    """Places on the axis, 0 to 1, with round times from its beginning."""
    if whole <= 0:
        return
    step = next((size for size in _sizes() if whole / size <= _MOST_TICKS), whole)
    at = 0
    while at * step <= whole:
        yield at * step / whole, _round_time(at * step)
        at += 1


def _sizes() -> Iterator[float]:
    yield from (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
    yield from (minutes * 60 for minutes in (1, 2, 5, 10, 15, 30))
    hours = 1
    while True:
        yield hours * 3600
        hours *= 2


def _round_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes % 60 else f"{minutes // 60}h"


def _row(root: Element, picture: Picture, row: Row, top: float) -> None:
    group = add(root, "g", class_="row on" if row.critical else "row off")
    add(group, "title", tooltip(row))
    add(group, "rect", x=1, y=top, width=_WIDTH - 2, height=_ROW, fill="transparent")  # the tooltip's, all over the row
    base = top + _ROW - 6
    indent = _MARGIN + 12 + row.depth * _INDENT
    if row.critical:
        add(group, "text", "◆", class_="mark", x=_MARGIN, y=base, font_size="9")
    strong = "strong" if row.depth <= 1 and row.span is not None and row.bars else "quiet" if not row.bars else ""
    room = int((_left() - indent - 8) / _CHARACTER)
    if row.folded:
        add(group, "text", row.label, class_="quiet", x=indent, y=base)
        words = len(row.label) * _CHARACTER + indent
        _bars(group, picture, row, top, after=words + 8)
        return
    add(group, "text", _cut(row.label, room), class_=strong, x=indent, y=base)
    _bars(group, picture, row, top)
    if row.seconds is not None:
        add(group, "text", short_time(row.seconds), x=_left() + _BARS + 62, y=base, text_anchor="end")
    says = ", ".join(
        word for word in (row.state if not (row.note and row.state == "succeeded") else "", row.note) if word
    )
    bad = row.failed or row.state in _BAD
    add(group, "text", _cut(says, 18), class_="bad" if bad else "quiet", x=_left() + _BARS + 74, y=base)


def _bars(group: Element, picture: Picture, row: Row, top: float, after: float = 0) -> None:
    """A row's bars; what is too short to be seen is a line.

    Args:
        group: of the row.
        picture: all.
        row: whose bars.
        top: of the row.
        after: where there are words up to.
    """
    for bar in row.bars:
        start, end = _left() + picture.place(bar.start) * _BARS, _left() + picture.place(bar.end) * _BARS
        start = max(start, after)
        if start >= end and after:
            continue
        thin = bar.look in (Look.HOLDER, Look.FOLDED)
        height = 3 if bar.look is Look.HOLDER else 6 if thin else _BAR
        y = top + (_ROW - height) / 2
        add(group, "rect", class_=bar.look.value, x=start, y=y, width=max(end - start, 1.5), height=height)
    if row.critical and row.bars:
        start = _left() + picture.place(row.bars[0].start) * _BARS
        end = _left() + picture.place(row.bars[-1].end) * _BARS
        add(group, "rect", class_="path", x=start, y=top + _ROW - 3, width=max(end - start, 1.5), height=1.5)


def _foot(root: Element, picture: Picture, height: int) -> None:
    """Where the time went, which is the legend too."""
    lengths = by_whose(picture.whole)
    x, y = float(_MARGIN), height - _FOOT + 28
    for whose, look in LOOKS.items():
        words = " ".join(f"{whose.value} {share(lengths[whose], picture.seconds)}".split())
        add(root, "rect", class_=look.value, x=x, y=y - 10, width=11, height=11, rx=2)
        add(root, "text", words, x=x + 17, y=y)
        x += 17 + len(words) * _CHARACTER + 20
    add(root, "text", "◆", class_="mark", x=x, y=y)
    add(root, "text", "critical path", class_="quiet", x=x + 14, y=y)
    parts = sums(picture.whole)
    ours = ", ".join(f"{words} {short_time(parts[where].total_seconds())}" for where, words in OURS.items())
    along = "of the step" if picture.alone else "along the critical path"
    add(root, "text", f"{along}; this software: {ours}", class_="quiet", x=_MARGIN, y=y + 20)


def _left() -> int:
    return _MARGIN + _LABELS


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 1)] + "…"
