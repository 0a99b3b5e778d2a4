from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta.trace.analysis import Analysis, Whose, analyse, by_whose, sums
from meta.trace.choosing import make_picture
from meta.trace.model import Part, Span
from meta.trace.stretches import Slice, Where
from meta.trace.tree import Branch, forest, run_of
from tests.support.made_traces import Maker, at, chain, going_on


def run_branch(spans: Sequence[Span], now: float = 1000) -> Branch:
    found = run_of(forest(spans, at(now)))
    assert found is not None
    return found


def analysed(spans: Sequence[Span], now: float = 1000) -> Analysis:
    return analyse(run_branch(spans, now))


def seconds(slices: Sequence[Slice]) -> dict[str, float]:
    """By where it went, without what is nothing."""
    return {where.value: length.total_seconds() for where, length in sums(slices).items() if length}


def of_step(spans: Sequence[Span], name: str) -> Sequence[Slice]:
    found = analysed(spans)
    return found.slices[next(span.span_id for span in spans if span.name == f"step {name}")]


def on_path(spans: Sequence[Span], part: Part, now: float = 1000) -> list[str]:
    path = analysed(spans, now).path
    return [span.name for span in spans if span.span_id in path and span.part is part]


def test_an_attempt_is_told_apart_by_what_runs_in_it() -> None:
    assert seconds(of_step(chain(), "prepare")) == {
        "submit": pytest.approx(0.1),
        "queueing": pytest.approx(1.0 + 0.4),  # before the first node and between the two
        "working": pytest.approx(8.0),
        "detection": pytest.approx(0.3),
        "between": pytest.approx(0.2),
    }


def test_attempts_that_were_tried_again_and_the_pauses_after_them_are_retrying() -> None:
    found = of_step(chain(), "train")
    assert seconds(found)["retrying"] == pytest.approx(10.0)  # 10.3 to 20.3
    assert seconds(found)["working"] == pytest.approx(8.4), "the attempt that counts alone"


def test_a_last_attempt_that_failed_is_not_retrying() -> None:
    made = Maker(0, 10)
    engine = made.engine_attempt(made.step("train", 0, 10, failed="no"), 1, 0, 10, failed="no")
    made.node(engine, "fit", 0.1, 9.7, failed="no")
    assert "retrying" not in seconds(of_step(made.spans, "train"))


def test_failed_calls_of_a_submit_are_retrying_and_the_rest_of_it_is_ours() -> None:
    made = Maker(0, 10)
    step = made.step("train", 0, 10)
    attempt = made.attempt(step, 1, 0, 10)
    submit = made.part(Part.SUBMIT, attempt, 0, 5)
    made.work(submit, "submit", 0.5, 1)
    made.work(submit, "submit", 3, 4)
    made.part(Part.WAIT, attempt, 5, 10)
    made.node(made.part(Part.ENGINE, attempt, 5, 9), "fit", 6, 9)
    expected = {"retrying": 3.5, "submit": 1.5, "queueing": 1.0, "working": 3.0, "detection": 1.0}
    assert seconds(of_step(made.spans, "train")) == expected


def test_a_wait_whose_worker_was_lost_costs_nothing_while_the_engine_works() -> None:
    made = Maker(0, 10)
    attempt = made.attempt(made.step("train", 0, 10), 1, 0, 10)
    wait = made.part(Part.WAIT, attempt, 0, 10)
    made.work(wait, "wait", 0, 9)
    made.node(made.part(Part.ENGINE, attempt, 0, 8), "fit", 0, 8)
    assert seconds(of_step(made.spans, "train")) == {"working": 8.0, "retrying": 1.0, "detection": 1.0}


def test_copying_artifacts_is_staging() -> None:
    made = Maker(0, 10)
    step = made.step("train", 0, 10)
    stage = made.part(Part.STAGE, step, 0.5, 2)
    made.node(made.engine_attempt(step, 1, 2, 10), "fit", 2.1, 9.7)
    assert seconds(of_step(made.spans, "train"))["staging"] == 1.5
    made.work(stage, "stage", 0.5, 1)
    found = seconds(of_step(made.spans, "train"))
    assert (found["staging"], found["retrying"]) == (1.0, 0.5), "what had to be copied again"


def test_a_call_that_succeeded_is_ours() -> None:
    made = Maker(0, 10)
    attempt = made.attempt(made.step("train", 0, 10, failed="cancelled"), 1, 0, 10, failed="cancelled")
    made.work(attempt, "terminate", 8, 10, failed="")
    assert seconds(of_step(made.spans, "train")) == {"between": 10.0}


def test_what_holds_nodes_does_not_count_as_working() -> None:
    made = Maker(0, 10)
    root = made.node(made.engine_step("many", 0, 10), "root", 0.2, 9.6, kind="DAG")
    made.node(root, "group", 0.2, 9.6, kind="TaskGroup")
    made.node(root, "one", 4, 5)
    assert seconds(of_step(made.spans, "many"))["working"] == 1.0


def test_an_engine_run_whose_nodes_are_not_known_counts_as_working() -> None:
    made = Maker(0, 10)
    made.engine_step("many", 0, 10)
    assert "queueing" not in seconds(of_step(made.spans, "many"))


def test_times_that_an_engine_cut_to_seconds_do_not_reach_into_the_submit() -> None:
    made = Maker(0, 10)
    attempt = made.attempt(made.step("train", 0.2, 10), 1, 0.2, 10)
    made.part(Part.SUBMIT, attempt, 0.2, 0.8)
    made.part(Part.WAIT, attempt, 0.8, 10)
    made.node(made.part(Part.ENGINE, attempt, 0, 9), "fit", 0, 9)
    assert seconds(of_step(made.spans, "train")) == {
        "submit": pytest.approx(0.6), "working": pytest.approx(8.2), "detection": 1.0
    }  # fmt: skip


def test_the_critical_path_goes_over_what_ended_last_and_skips_what_nobody_waited_for() -> None:
    assert on_path(chain(), Part.STEP) == ["step prepare", "step train", "step score", "step publish"]
    nodes = on_path(chain(), Part.NODE)
    assert "report" not in nodes
    assert [name for name in nodes if name.startswith("score(")] == ["score(9:part-9)", "score(19:part-19)",
        "score(29:part-29)", "score(39:part-39)", "score(49:part-49)"]  # fmt: skip


def test_a_run_is_its_path_and_what_is_between_its_steps() -> None:
    found = analysed(chain())
    assert seconds(found.run)["between"] == pytest.approx(4 * 0.2 + 0.2 * 3)
    assert by_whose(found.run)[Whose.RETRYING] == timedelta(seconds=10)
    assert sum(by_whose(found.run).values(), timedelta(0)) == timedelta(seconds=60)


def test_a_run_that_goes_on_is_taken_apart_up_to_now() -> None:
    found = analysed(going_on(), 25)
    assert (found.run[0].start, found.run[-1].end) == (at(0), at(25))
    assert on_path(going_on(), Part.STEP, 25) == ["step prepare", "step train"]


def test_a_run_that_has_just_begun_and_one_with_a_skipped_step_alone_are_fine() -> None:
    assert seconds(analysed(Maker(0, None).spans, 3).run) == {"between": 3.0}
    made = Maker(0, 5)
    made.step("alert", 5, 5, state="skipped")
    assert seconds(analysed(made.spans).run) == {"between": 5.0}
    assert seconds(analysed(Maker(0, 0).spans).run) == {}


@given(st.integers(0, 2**32))
def test_slices_fill_the_whole_without_gaps_or_overlaps_whatever_the_clocks_say(seed: int) -> None:
    dice = random.Random(seed)
    spans = _any_trace(dice)
    run = run_branch(spans, 50)
    found = analyse(run)
    _check(found.run, run)
    for branch in run.walk():
        if branch.part in (Part.STEP, Part.ATTEMPT) and branch.span.span_id in found.slices:
            _check(found.slices[branch.span.span_id], branch)
    steps = [branch for branch in run.of(Part.STEP) if branch.span.span_id in found.path]
    assert all(one.end <= after.start for one, after in pairwise(steps))
    make_picture(spans, at(50))


def _check(slices: Sequence[Slice], whole: Branch) -> None:
    assert sum(sums(slices).values(), timedelta(0)) == whole.end - whole.start
    ends = [whole.start, *(one.end for one in slices)]
    assert [one.start for one in slices] == ends[: len(slices)]
    assert ends[-1] == whole.end
    assert set(sums(slices)) == set(Where)


def _any_trace(dice: random.Random) -> list[Span]:
    """Spans that overlap, stick out of their parents, or go on, in every part."""

    def times() -> tuple[float, float | None]:
        start = dice.choice((dice.uniform(0, 40), dice.randrange(40)))
        return start, None if dice.random() < 0.1 else start + dice.choice((0, dice.uniform(0, 15), dice.randrange(9)))

    made = Maker(0, dice.choice((None, 40.0, 30.5)))
    for step_number in range(dice.randrange(4)):
        step = made.step(f"s{step_number}", *times())
        for _ in range(dice.randrange(3)):
            made.part(dice.choice((Part.STAGE, Part.WORK)), step, *times())
        for number in range(1, dice.randrange(4)):
            attempt = made.attempt(step, number, *times())
            for part in (Part.SUBMIT, Part.WAIT, Part.ENGINE, Part.WORK):
                for _ in range(dice.choice((0, 1, 1, 2))):
                    above = made.part(part, attempt, *times())
                    for _ in range(dice.randrange(4) if part is Part.ENGINE else 0):
                        above = dice.choice((above, made.part(Part.NODE, above, *times())))
    return made.spans
