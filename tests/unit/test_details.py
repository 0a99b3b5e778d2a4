from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from workflows.board import Board
from workflows.details import Details, headline, markdown, static_details
from workflows.markdown import DETAILS_LIMIT, NBSP, SUMMARY_LIMIT, cut, fit, plain, size
from workflows.messages import Cause, StartRun, StepOutcome
from workflows.outcome import EngineKind, EngineRunRef, FailedNode, RunState, StepState
from workflows.spec.models import MetaWorkflow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS: dict[str, object] = {
    "a": {"argo": {"manifest": "a.yaml"}, "description": "Make *things*"},
    "b": {"kfp": {"pipeline": "churn"}, "needs": ["a"]},
}
ARGO: dict[str, object] = {"argo": {"manifest": "a.yaml"}}
REF = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="chain-a-1", uid="u", url="http://ui/chain-a-1")
NASTY = "x | y\n# Title\n<script>alert(1)</script> <b>b</b> [l](http://evil) `code` **bold** $x$ &amp; ![i](j) ~~s~~ \\"
TABLES = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def definition(steps: dict[str, object], description: str = "") -> MetaWorkflow:
    metadata = {"name": "chain", "description": description}
    return MetaWorkflow.model_validate(
        {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": metadata, "steps": steps}
    )


def board(steps: dict[str, object] = STEPS, run_id: str = "run-1") -> Board:
    return Board(run_id, "t-1", StartRun(definition=definition(steps), bundle_digest="sha256:0"), NOW)


def row_of(step: str, text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {step}{NBSP}"))


def cells(row: str) -> list[str]:
    """As a reader sees them."""
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def many(number: int) -> dict[str, object]:
    return {f"step_{i}": {"argo": {"manifest": "a.yaml"}} for i in range(number)}


def test_a_finished_step_shows_its_engine_run_its_time_and_its_outputs() -> None:
    b = board()
    b.attempt_started("a", 1, NOW)
    b.adopted("a", REF)
    outcome = StepOutcome(outputs={"rows": 3, "rate": 0.1234567891}, nodes=2, cached_nodes=1)
    b.ended("a", StepState.SUCCEEDED, NOW + timedelta(seconds=2), "", outcome)
    assert cells(row_of("a", markdown(b.snapshot()))) == [
        "a",
        "[argo](http://ui/chain-a-1)",
        f"🟢{NBSP}succeeded, 1 of 2 nodes cached",
        "1",
        f"2.0{NBSP}s",
        "rows = 3, rate = 0.123457",
    ]


def test_a_running_step_shows_since_when() -> None:
    b = board()
    b.attempt_started("a", 2, NOW + timedelta(hours=13))
    text = markdown(b.snapshot())
    assert cells(row_of("a", text))[2:5] == [f"🔵{NBSP}running", "2", f"since{NBSP}13:00:00{NBSP}UTC"]
    assert text.startswith("**chain** is running: 0 of 2 steps have ended, a is running\n")


def test_a_skipped_step_says_why_and_has_no_time() -> None:
    b = board()
    b.ended("b", StepState.SKIPPED, NOW, "needs a, which failed", None)
    assert cells(row_of("b", markdown(b.snapshot())))[2:6] == [f"⏭️{NBSP}skipped", "", "", "needs a, which failed"]


def test_a_failed_step_shows_the_last_lines_that_it_wrote_and_the_command_for_the_rest() -> None:
    b = board()
    node = FailedNode(name="main", exit_code=1, log=[f"line {i}" for i in range(20)])
    b.ended("a", StepState.FAILED, NOW, "boom", StepOutcome(failed_nodes=[FailedNode(name="other"), node]))
    text = markdown(b.snapshot())
    logs = "\n".join(f"    line {i}" for i in range(10, 20))
    assert f"Last lines of main (exit code 1) in **a**; all of them: `meta logs run-1 a`\n\n{logs}\n" in text


def test_the_details_end_with_the_trace_and_the_command_that_draws_it() -> None:
    last = markdown(board().snapshot()).splitlines()[-1]
    assert re.fullmatch(r"Trace `[0-9a-f]{32}`, drawn by `meta trace run-1`", last)


@pytest.mark.parametrize("run_state", [state for state in RunState if state.ended])
def test_every_end_of_a_run_reads_as_a_sentence(run_state: RunState) -> None:
    b = board()
    b.finish(run_state, NOW, "a reason")
    text = markdown(b.snapshot())
    assert text.startswith(headline(b.snapshot()))
    assert re.match(r"\*\*chain\*\* (has|was) [a-z]+: 2 of 2 steps have ended\n", text)
    assert "\na reason\n" in text


def test_what_comes_from_outside_stays_text() -> None:
    b = board(run_id=f"run `{NASTY}")
    b.attempt_started("a", 1, NOW)
    ref = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=NASTY, uid="u", url="http://ui/a b|c)<d>(e")
    b.adopted("a", ref)
    b.ended("a", StepState.SUCCEEDED, NOW, "", StepOutcome(outputs={"text": NASTY}))
    log = ["```", "</code></pre><script>", "", "# no title"]
    failed = StepOutcome(failed_nodes=[FailedNode(name=NASTY, log=log)])
    b.ended("b", StepState.FAILED, NOW, NASTY, failed)
    b.finish(RunState.FAILED, NOW, NASTY)
    page = TABLES.render(markdown(b.snapshot()))
    assert set(re.findall(r"<(\w+)", page)) <= {
        "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "a", "code", "pre",
    }  # fmt: skip
    assert re.findall(r'href="([^"]*)"', page) == ["http://ui/a%20b%7Cc%29%3Cd%3E%28e"]
    assert page.count("<tr>") == 3
    assert page.count("<td") == 2 * 6
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert cut(NASTY, 600) in text
    assert "\n".join(log) in text


@given(text=st.text(), limit=st.integers(5, 200))
def test_plain_text_reads_as_it_was_on_one_line_within_its_limit(text: str, limit: int) -> None:
    shown = TABLES.renderInline(plain(text, limit))
    assert html.unescape(shown) == cut(text, limit)
    assert len(cut(text, limit)) <= limit


@pytest.mark.parametrize("text", ["- item", "1. item", "12) item", "# title", "> quote", "=== ", "+ a", "---", ": a"])
def test_plain_text_at_the_start_of_a_line_is_a_paragraph(text: str) -> None:
    page = TABLES.render(plain(text, 50))
    assert page == f"<p>{html.escape(cut(text, 50))}</p>\n"


def test_an_address_that_is_none_of_the_web_is_no_link() -> None:
    b = board()
    b.adopted("a", REF.model_copy(update={"url": "javascript:alert(1)"}))
    assert cells(row_of("a", markdown(b.snapshot())))[1] == "argo"


def test_two_hundred_steps_show_what_people_look_for_within_the_limit() -> None:
    b = board(many(200))
    for i in range(150):
        b.attempt_started(f"step_{i}", 1, NOW)
        b.adopted(f"step_{i}", REF.model_copy(update={"url": f"http://ui/{'n' * 60}{i}"}))
        end = NOW + timedelta(seconds=i)
        b.ended(f"step_{i}", StepState.SUCCEEDED, end, "", StepOutcome(outputs={"text": "é" * 500}))
    b.ended("step_3", StepState.FAILED, NOW, "boom", StepOutcome(failed_nodes=[FailedNode(name="n", log=["x" * 400])]))
    b.attempt_started("step_199", 1, NOW)
    text = markdown(b.snapshot())
    assert len(json.dumps(text, ensure_ascii=False).encode()) <= DETAILS_LIMIT
    shown = re.findall(r"^\| (step_\d+)", text, re.MULTILINE)
    assert {"step_3", "step_199", "step_149"} <= set(shown)
    assert shown == sorted(shown, key=lambda name: int(name.removeprefix("step_")))
    left_out = re.search(r"… and (\d+) more steps: (\d+) succeeded, 49 pending\.", text)
    assert left_out is not None
    assert len(shown) + int(left_out[1]) == 200
    assert len(shown) > 30


def test_the_largest_run_in_the_worst_state_keeps_within_the_limit() -> None:
    b = board(many(500), run_id="r" * 1000)
    for i in range(500):
        log = [f'"{line}\\\t"' * 100 for line in range(20)]
        failed = StepOutcome(failed_nodes=[FailedNode(name="🔴" * 200, exit_code=1, log=log)])
        b.attempt_started(f"step_{i}", 1, NOW)
        b.ended(f"step_{i}", StepState.FAILED, NOW, "🔴" * 4000, failed)
    b.set_outputs({f"out_{i}": "ü" * 500 for i in range(500)})
    b.finish(RunState.FAILED, NOW, '"\\' * 5000)
    text = markdown(b.snapshot())
    assert len(json.dumps(text, ensure_ascii=False).encode()) <= DETAILS_LIMIT
    assert text.count("Last lines of") >= 1
    assert "More of what went wrong: `meta get rrr" in text


def test_only_what_has_changed_is_drawn_anew() -> None:
    b, details = board(), Details()
    before = details.draw(b.snapshot())
    b.ended("a", StepState.LOST, NOW, "gone", None)
    after = details.draw(b.snapshot())
    assert after == markdown(b.snapshot())
    assert row_of("b", before) == row_of("b", after)
    assert row_of("a", before) != row_of("a", after)


def test_the_static_details_say_what_was_started_by_what_with_which_steps() -> None:
    start = StartRun(
        definition=definition(STEPS, "Makes _things_ of a length that no summary takes" + "!" * 170),
        bundle_digest="sha256:0123456789abcdef",
        inputs={"rate": 0.5},
        trigger="nats",
        request_id="m-1",
        cause=Cause(kind="nats", name="ml.datasets.*", at=NOW),
    )
    assert static_details(start).splitlines() == [
        r"Meta-workflow **chain**: Makes \_things\_ of a length that no summary takes" + "!" * 170,
        "",
        r"- started by a message on NATS: ml.datasets.\*, 2026-01-01 00:00:00 UTC",
        "- request id: m-1",
        "- inputs: rate = 0.5",
        "- definition: sha256:0123456789ab",
        "",
        "Its steps:",
        "",
        r"- **a**: Make \*things\* (a.yaml on argo)",
        "- **b** (pipeline churn, its newest version on kfp, after a)",
    ]


def test_the_static_details_of_the_largest_definition_keep_within_the_limit() -> None:
    steps: dict[str, object] = {name: {"argo": {"manifest": "a.yaml"}, "description": "é" * 300} for name in many(500)}
    start = StartRun(definition=definition(steps, "ü" * 9000), bundle_digest="sha256:0", request_id="🔴" * 512)
    text = static_details(start)
    assert len(json.dumps(text, ensure_ascii=False).encode()) <= DETAILS_LIMIT
    assert text.endswith("\n…")


@given(text=st.text(max_size=900), limit=st.integers(20, 500))
def test_a_text_that_is_made_to_fit_fits(text: str, limit: int) -> None:
    fitted = fit(text, limit)
    assert size(fitted) <= limit
    assert fitted == text or fitted.endswith("…")


def test_a_sentence_of_many_long_names_is_cut_to_what_temporal_takes() -> None:
    sentence = fit(cut(", ".join(["é" * 63] * 20), SUMMARY_LIMIT), SUMMARY_LIMIT)
    assert 350 < size(sentence) <= SUMMARY_LIMIT


def test_the_details_say_what_is_taken_back_and_what_runs_at_the_end() -> None:
    undo: dict[str, object] = {"a": {**ARGO, "compensate": {"argo": {"template": "undo"}}}}
    whole = definition(undo).model_copy(update={"finally_": definition({"tell": ARGO}).steps})
    begun = StartRun(definition=whole, bundle_digest="sha256:0")
    details = static_details(begun)
    assert "- **a** (a.yaml on argo)\n  - taken back by WorkflowTemplate undo on argo\n" in details
    assert details.endswith("- **tell** (a.yaml on argo, at the end)")
    b = Board("run-1", "t-1", begun, NOW)
    b.ended("a", StepState.FAILED, NOW, "why", None)
    b.continued("a")
    b.add_compensations(["compensate_a"])
    drawn = markdown(b.snapshot())
    assert cells(row_of("a", drawn))[2] == f"🔴{NBSP}failed, continued"
    assert [cells(line)[0] for line in drawn.splitlines() if line.startswith("| ")][1:] == [
        "a",
        "compensate_a",
        "tell (finally)",
    ]
