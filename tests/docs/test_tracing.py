"""docs/tracing.md: its commands, its chain, its picture, and its words for where the time went."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from meta.cli.trace import Form
from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
from meta.trace.choosing import make_picture
from meta.trace.model import Part
from meta.trace.picture import OURS
from meta.trace.reading import is_cached, step_of
from tests.docs.commands import parse
from tests.docs.pages import ROOT, backquoted, read, snippets
from tests.support.chain import environments_folder
from tests.support.traces import check_tree
from workflows.bundle import build_bundle, validate_bundle
from workflows.outcome import RunState, StepState

PAGE = "docs/tracing.md"
CHAIN = ROOT / "docs" / "examples" / "traced" / "workflow.yaml"
PICTURE = ROOT / "docs" / "pictures" / "trace.svg"


def test_its_commands_and_options_exist() -> None:
    commands = [line for one in snippets("console", pages=(PAGE,)) for line in one.commands]
    assert len(commands) >= 5
    for line in commands:
        parse(shlex.split(line)[1:])
    page = CliRunner().invoke(app, ["trace", "--help"], env={"COLUMNS": "200"}).output
    options = {word.split()[0] for word in backquoted(PAGE) if word.startswith("--")}
    assert options >= {"--all", "--top", "--step", "--file"}
    assert {option for option in options if option not in page} == set()


def test_it_names_every_form_and_every_part_of_the_time() -> None:
    rows = set(re.findall(r"^\| `?([^`|]+?)`? \|", read(PAGE), re.MULTILINE))
    assert rows >= {*Form, "working", "queueing", "retrying", "ours", *OURS.values()}


def test_its_waterfall_is_80_columns_wide_and_says_what_its_picture_says() -> None:
    (shown,) = [one.text for one in snippets("text", pages=(PAGE,)) if "where the time went" in one.text]
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(ElementTree.parse(PICTURE).getroot().itertext())
    rows = shown.partition("where the time went")[0]
    labels = re.findall(r"^[* ] +([a-z][\w() :-]*?)  ", rows, re.MULTILINE)
    assert len(labels) > 20
    assert [label for label in labels if label not in words] == []


def test_its_chain_is_valid() -> None:
    bundle = build_bundle(CHAIN)
    validate_bundle(bundle)
    assert len(bundle.definition.steps) == 7


@pytest.mark.prove
async def test_its_chain_runs_on_the_sandbox_engines_and_its_trace_is_what_the_page_says(tmp_path: Path) -> None:
    options = StackOptions(data_dir=tmp_path / "stack", environments=environments_folder())
    async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc) as client:
        started = await client.start(CHAIN)
        run = await client.wait(started.id)
        assert run.state is RunState.SUCCEEDED, run.message
        spans = (await client.trace(run.id)).spans
    assert {step.name: step.state for step in run.steps}["alert"] is StepState.SKIPPED
    check_tree(spans)
    assert run.finished_at is not None
    shown = make_picture(spans, run.finished_at, snapshots=run.steps)
    assert [row.note for row in shown.rows if row.label == "fetch"] == ["2 attempts"]
    assert [row.state for row in shown.rows if row.label == "alert"] == ["skipped"]
    assert [row for row in shown.rows if row.folded and "45 succeeded" in row.label]
    assert any(is_cached(span) for span in spans)
    assert {span.part for span in spans} >= {Part.CAUSE, Part.RUN, Part.STEP, Part.ATTEMPT, Part.ENGINE, Part.NODE}
    path = [step_of(span) for span in spans if span.part is Part.STEP and span.span_id in shown.path]
    assert path == ["prepare", "fetch", "train", "score", "publish"]
