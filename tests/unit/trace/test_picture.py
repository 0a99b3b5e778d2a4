"""What pictures of a trace show, in every form."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from rich.cells import cell_len
from rich.console import Console

from meta.cli.waterfall import print_waterfall
from meta.trace.choosing import make_picture, spans_of_step
from meta.trace.html import page
from meta.trace.model import Link, Part, Span, SpanEvent
from meta.trace.otlp import from_traces_data
from meta.trace.otlp_json import to_otlp_json
from meta.trace.picture import Picture, short_time
from meta.trace.svg import draw
from meta.trace.tree import UNFINISHED
from tests.support.made_traces import Maker, at, chain, fan_out, going_on, snapshots
from tests.support.traces import check_tree
from workflows.errors import NotFound
from workflows.messages import StepSnapshot

NOW = at(1000)
NASTY = 'a<b>&"c" ]]> \x1b[31m\x00 [red]x[/red]'


def picture(spans: Sequence[Span] | None = None, **options: Any) -> Picture:
    steps: Sequence[StepSnapshot] = snapshots() if spans is None else ()
    return make_picture(chain() if spans is None else spans, NOW, snapshots=options.pop("snapshots", steps), **options)


def drawn(shown: Picture, width: int = 80, *, colours: bool = False, encoding: str = "utf-8") -> list[str]:
    class Screen(StringIO):
        @property
        def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] -- a str at the base
            return encoding

    out = Screen()
    print_waterfall(Console(file=out, width=width, force_terminal=colours, highlight=False), shown, run_id="chain-1")
    return out.getvalue().splitlines()


def line_of(lines: Sequence[str], label: str) -> str:
    return next(line for line in lines if line[2:].strip().startswith(f"{label} "))


def test_the_waterfall_shows_steps_attempts_and_nodes_in_80_columns() -> None:
    lines = drawn(picture())
    assert all(cell_len(line) <= 80 for line in lines), max(lines, key=cell_len)
    assert "\x1b" not in "".join(lines), "no colours where nobody sees them"
    assert lines[0] == "chain-1 succeeded 1m00s"
    assert line_of(lines, "prepare").endswith("10s  succeeded")
    assert line_of(lines, "train").endswith("20s  2 attempts")
    assert re.search(r"\*     attempt 1 .*6\.0s  failed$", line_of(lines, "attempt 1"))
    assert line_of(lines, "publish").startswith("*   publish")
    assert [line for line in lines if line.endswith("0.0s  cached")]
    assert line_of(lines, "alert").split() == ["alert", "skipped"]
    assert lines.index(line_of(lines, "alert")) < lines.index(line_of(lines, "score"))
    assert "train, fit: exit code 3" in lines


def test_bars_stand_where_their_times_are_and_say_how_they_went() -> None:
    lines = drawn(picture())
    left = line_of(lines, "run chain").index("░")
    read, check = line_of(lines, "read"), line_of(lines, "check")
    assert read.index("█") < check.index("█")
    assert abs((read.index("█") - left) / (line_of(lines, "run chain").rindex("░") + 1 - left) - 1.2 / 60) < 0.05
    train = line_of(lines, "train")
    assert train.index("▒") < train.index("█"), "tried in vain, then it works"


def test_the_table_says_where_the_time_went_and_adds_up() -> None:
    lines = drawn(picture())
    table = lines[lines.index("where the time went") + 2 :]
    assert table[1].split() == ["*", "train", "20s", "8.4s", "42%", "1.0s", "5%", "10s", "50%", "0.6s", "3%"]
    run = next(line for line in table if line.startswith("* the run"))
    assert run.split()[3] == "1m00s"
    assert sum(int(part) for part in re.findall(r"(\d+)%", run)) == 100
    assert "seeing the end 1.2s" in "".join(table)


def test_of_a_fan_out_those_that_matter_are_shown_and_the_rest_is_counted() -> None:
    lines = drawn(picture())
    shown = [line.split()[-3] if line.startswith("*") else line.split()[0] for line in lines if "score(" in line]
    assert len([line for line in lines if line[2:].strip().startswith("score(")]) == 5, shown
    assert "failed" in line_of(lines, "score(17:part-17)"), "what failed is shown"
    assert line_of(lines, "score(49:part-49)").startswith("*"), "and what took longest"
    assert "      … 45 more: 45 succeeded, 1.2s to 4.0s" in lines
    assert len([line for line in drawn(picture(top=2)) if line[2:].strip().startswith("score(")]) == 2
    assert len([line for line in drawn(picture(everything=True)) if line[2:].strip().startswith("score(")]) == 50


def test_all_shows_submits_waits_and_engine_runs_too() -> None:
    plain, whole = drawn(picture()), drawn(picture(everything=True))
    for label in ("submit", "wait", "chain-prepare-1", "[0]"):
        assert line_of(whole, label)
        assert not [line for line in plain if line[2:].strip().startswith(f"{label} ")]


def test_a_step_alone_is_drawn_over_its_own_time() -> None:
    lines = drawn(picture(step="train"))
    assert lines[0] == "chain-1 succeeded 20s"
    assert not [line for line in lines if "prepare" in line or "the run" in line]
    with pytest.raises(NotFound, match="no step 'trian'") as unknown:
        picture(step="trian")
    assert "train" in unknown.value.hint
    with pytest.raises(NotFound, match="has not begun"):
        picture(step="alert")


def test_a_run_that_goes_on_is_drawn_up_to_now_and_says_so() -> None:
    steps = snapshots(pending=("score", "report", "publish"))
    shown = make_picture(going_on(), at(25), snapshots=steps)
    lines = drawn(shown)
    assert lines[0] == "chain-1 running 25s"
    assert "up to now" in lines[1]
    assert line_of(lines, "train").endswith("running, 2 attempts")
    assert line_of(lines, "score").split() == ["score", "pending"]
    assert "so far" in draw(shown, "chain-1")


def test_a_run_without_a_trace_says_so() -> None:
    with pytest.raises(NotFound, match="no trace yet"):
        make_picture([], NOW)


def test_a_cause_long_before_the_run_is_told_and_not_drawn() -> None:
    spans = [replace(span, start=at(-3600)) if span.part is Part.CAUSE else span for span in chain()]
    assert "its cause came 1h00m before it" in drawn(picture(spans))
    assert picture(spans).start == at(0)


def test_a_terminal_has_colours_and_one_without_unicode_has_signs() -> None:
    assert "\x1b[32m█" in "".join(drawn(picture(), colours=True))
    lines = drawn(picture(), encoding="ascii")
    assert "#" in line_of(lines, "read")
    assert "█" not in "".join(lines)


def test_ten_thousand_nodes_are_folded_quickly_in_every_form() -> None:
    spans = fan_out(10_000)
    start = time.process_time()
    shown = picture(spans)
    lines, svg = drawn(shown), draw(shown, "x")
    html, told = page(shown, spans, NOW, run_id="x"), to_otlp_json(spans, {}, NOW)
    assert time.process_time() - start < 20, "about 2 s; what is not linear takes minutes"
    assert len(lines) < 30
    assert "9,995 succeeded" in "".join(lines)
    assert len(svg) < 50_000
    assert len(html) < 1_000_000
    assert len(json.loads(told)["resourceSpans"][0]["scopeSpans"][0]["spans"]) == len(spans)


def nasty() -> list[Span]:
    made = Maker(0, 10)
    node = made.node(made.engine_step("train", 0, 10), NASTY, 1, 9, failed=NASTY)
    made.spans[made.spans.index(node)] = replace(
        node,
        attributes={**node.attributes, NASTY: NASTY, "meta.node.type": "Pod"},
        events=[SpanEvent(NASTY, at(2), {"k": 1.5})],
        links=[Link("ab" * 16)],
    )
    return made.spans


@pytest.mark.parametrize("spans", [chain(), going_on(), nasty()], ids=["chain", "going on", "nasty"])
def test_an_svg_is_well_formed_stands_alone_and_has_a_title_for_every_row(spans: list[Span]) -> None:
    shown = make_picture(spans, at(25))
    text = draw(shown, f"run {NASTY}")
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    rows = [one for one in root.iter(f"{name}g")]
    assert len(rows) == len(shown.rows)
    assert all(row.find(f"{name}title") is not None for row in rows)
    assert root.get("viewBox")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(href|src|url\(|@import)", text)
    widths = [float(rect.get("width", "0")) for rect in root.iter(f"{name}rect")]
    assert all(width > 0 for width in widths)


def test_what_a_container_has_written_cannot_leave_its_place() -> None:
    shown = picture(nasty())
    svg = draw(shown, NASTY)
    assert "<b>" not in svg
    assert "\x1b" not in svg
    assert "\x00" not in svg
    html = page(shown, nasty(), NOW, run_id=NASTY)
    assert "<b>" not in html
    lines = drawn(shown)
    assert "[red]x[/red]" in "".join(lines), "no markup of the terminal either"
    assert "\x1b" not in "".join(lines)


class Reader(HTMLParser):
    """Keeps what a page is made of, and fails where tags do not close each other."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_page_has_the_picture_a_tree_with_all_attributes_and_loads_nothing() -> None:
    reader = Reader()
    reader.feed(page(picture(), chain(), NOW, run_id="chain-1", url="https://t.test/1"))
    reader.close()
    assert reader.open == []
    tags = [tag for tag, _ in reader.tags]
    assert (tags.count("svg"), tags.count("details")) == (1, len(chain()))
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert [said.get("href") for tag, said in reader.tags if tag == "a"] == ["https://t.test/1"]
    assert "exit code 3" in reader.words
    assert "meta.node.type" in reader.words
    assert any(said.get("id") == "critical" for _, said in reader.tags), "the switch for the critical path"


def test_a_page_about_one_step_keeps_to_it() -> None:
    kept = spans_of_step(chain(), "train")
    check_tree(kept)
    assert {span.name for span in kept if span.part is Part.STEP} == {"step train"}
    assert len([span for span in kept if span.name == "fit"]) == 2


def test_the_json_is_otlp_that_the_official_protobufs_read_back() -> None:
    spans = nasty() + [replace(span, span_id=f"f{span.span_id[1:]}") for span in chain()]
    told = json.loads(to_otlp_json(spans, {"service.name": "s"}, NOW))
    inside = told["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [one["spanId"] for one in inside] == [span.span_id for span in spans], "hex, not base64"
    assert all(re.fullmatch("[0-9a-f]{32}", one["traceId"]) for one in inside)
    assert {type(one["kind"]) for one in inside} == {int}
    assert all(isinstance(one["startTimeUnixNano"], str) for one in inside), "64-bit numbers are texts"
    for one in inside:
        for owner in (one, *one.get("links", [])):
            for name in {"traceId", "spanId", "parentSpanId"} & set(owner):
                owner[name] = base64.b64encode(bytes.fromhex(owner[name])).decode()
    assert from_traces_data(ParseDict(told, TracesData())) == [_plain(span) for span in spans]


def _plain(span: Span) -> Span:
    return replace(span, events=tuple(span.events), links=tuple(span.links))


def test_spans_that_go_on_are_closed_in_the_json_and_marked() -> None:
    told = json.loads(to_otlp_json(going_on(), {}, at(25)))
    spans = {one["name"]: one for one in told["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    assert int(spans["run chain"]["endTimeUnixNano"]) == at(25).timestamp() * 1e9
    assert {"key": UNFINISHED, "value": {"boolValue": True}} in spans["run chain"]["attributes"]
    assert UNFINISHED not in json.dumps(spans["step prepare"])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0s"), (0.0004, "1ms"), (0.05, "50ms"), (9.94, "9.9s"), (9.97, "10s"), (59.7, "1m00s"),
                          (75, "1m15s"), (3600 * 26 + 61, "26h01m")],
)  # fmt: skip
def test_times_are_short(seconds: float, text: str) -> None:
    assert short_time(seconds) == text
