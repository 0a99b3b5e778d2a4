"""A trace as one page that loads nothing: the picture, where the time went, and all that every span says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from xml.etree import ElementTree

from meta.trace import svg
from meta.trace.analysis import Whose, by_whose
from meta.trace.folding import Folded, fold
from meta.trace.markup import Element, add, html_text
from meta.trace.model import Part, Span, Status
from meta.trace.picture import THE_RUN, Picture, share, short_time
from meta.trace.reading import is_cached, state_of, step_of
from meta.trace.tree import Branch, forest
from meta.trace.words import clock, facts

_SIBLINGS = 300
"""Equal siblings that the tree lists; a page with 10,000 is nothing to look at."""

_OPEN = frozenset({Part.CAUSE, Part.RUN})
_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --back: #ffffff; --edge: #d0d7de; --soft: #59636e; --red: #d1242f; }
@media (prefers-color-scheme: dark) { :root { --text: #f0f6fc; --back: #0d1117; --edge: #3d444d; --soft: #9198a1;
  --red: #f85149; } }
body { font: 14px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1200px;
  margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .2rem 0 1rem; color: var(--soft); } a { color: #218bff; }
svg { width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
.numbers td + td, .numbers th + th { text-align: right; font-variant-numeric: tabular-nums; }
.numbers tr:last-child { font-weight: 600; border-top: 1px solid var(--edge); }
.facts { font: 12px/1.5 ui-monospace, monospace; margin: .2rem 0 .5rem 1.3rem; }
.facts td { white-space: pre-wrap; overflow-wrap: anywhere; }
.facts td:first-child { color: var(--soft); white-space: nowrap; }
details { margin-left: 1.2rem; } summary { cursor: pointer; } .none { margin-left: 2.3rem; color: var(--soft); }
.soft { color: var(--soft); } .red { color: var(--red); font-weight: 600; }
.way::after { content: " ◆"; color: #bc4c00; }
label { cursor: pointer; user-select: none; }
#critical:checked ~ main svg .off { opacity: .18; }
#critical:checked ~ main details.off { display: none; } #critical:checked ~ main .none { display: none; }
"""


def page(
    picture: Picture, spans: Sequence[Span], now: datetime, *, run_id: str, url: str = "", everything: bool = False
) -> str:
    """The page's text.

    Args:
        picture: what its picture shows.
        spans: those that its tree lists.
        now: ends those that go on.
        run_id: of the run.
        url: page of the trace in a backend; empty for none.
        everything: list every sibling, however many.
    """
    root = ElementTree.Element("html", {"lang": "en"})
    head = add(root, "head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", f"{run_id}: trace")
    add(head, "style").text = svg.STYLE + _STYLE
    body = add(root, "body")
    add(body, "h1", run_id)
    line = add(body, "p", f"{picture.state}, {short_time(picture.seconds)}, from {clock(picture.start)}")
    if picture.goes_on:
        add(line, "span", f"; goes on, drawn up to {clock(picture.end)}")
    if url:
        add(line, "span", "; ")
        add(line, "a", "trace in the backend", href=url, rel="noreferrer")
    add(body, "input", type="checkbox", id="critical")
    add(body, "label", " critical path only", for_="critical")
    main = add(body, "main")
    main.append(svg.element(picture, run_id))
    add(main, "h2", "Where the time went")
    _times(main, picture)
    add(main, "h2", "Spans")
    for tree in forest(spans, now):
        _tree(main, tree, picture.path, 0 if everything else _SIBLINGS)
    return html_text(root)


def _times(main: Element, picture: Picture) -> None:
    table = add(main, "table", class_="numbers")
    row = add(table, "tr")
    for words in ("", "time", *(whose.value for whose in Whose)):
        add(row, "th", words)
    lines = [(step.name, step.seconds, step.slices) for step in picture.steps]
    if not picture.alone:
        lines.append((f"{THE_RUN}, along its critical path", picture.seconds, picture.whole))
    for name, seconds, slices in lines:
        row = add(table, "tr")
        add(row, "td", name)
        add(row, "td", short_time(seconds))
        for length in by_whose(slices).values():
            add(row, "td", share(length, seconds))


def _tree(above: Element, root: Branch, path: Collection[str], top: int) -> None:
    waiting: list[tuple[Element, Branch | Folded]] = [(above, root)]
    while waiting:
        element, one = waiting.pop()
        if isinstance(one, Folded):
            states = ", ".join(f"{count:,} {state}" for state, count in one.states.items())
            add(element, "div", f"… {one.count:,} more: {states}", class_="none")
            continue
        details = _details(element, one, critical=one.span.span_id in path)
        waiting += [(details, child) for child in reversed(fold(one.below, path, top))]


def _details(above: Element, one: Branch, *, critical: bool) -> Element:
    span = one.span
    details = add(above, "details", class_="on" if critical or one.part is Part.CAUSE else "off")
    if one.part in _OPEN:
        details.set("open", "")
    summary = add(details, "summary")
    add(summary, "span", step_of(span) if one.part is Part.STEP else span.name, class_="way" if critical else "")
    said = ", ".join(
        word for word in (short_time(one.seconds), state_of(span), "cached" if is_cached(span) else "") if word
    )
    add(
        summary,
        "span",
        f" {one.part.value if one.part else ''} {said}",
        class_="red" if span.status is Status.ERROR else "soft",
    )
    table = add(details, "table", class_="facts")
    for name, value in facts(span):
        row = add(table, "tr")
        add(row, "td", name)
        add(row, "td", value)
    return details
