"""How soon the KFP watcher asks again."""

from __future__ import annotations

import pytest

from workers.engines.kfp.pace import Pace, kind_of

FASTEST, SLOWEST = 1.0, 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(FASTEST, SLOWEST, clock)


def run(pace: Pace, clock: Clock, name: str, seconds: float) -> None:
    pace.started(name, "train")
    clock.now += seconds
    pace.ended(name)
    pace.left(name)


def test_without_waits_it_is_slow_and_after_a_submit_fast(pace: Pace) -> None:
    assert pace.interval() == SLOWEST
    pace.started("a", "train")
    assert pace.interval() == FASTEST
    pace.left("a")
    assert pace.interval() == SLOWEST


def test_it_slows_down_as_a_run_grows_old_and_the_youngest_counts(pace: Pace, clock: Clock) -> None:
    pace.started("a", "train")
    clock.now = 60.0
    assert pace.interval() == pytest.approx(3.0)
    clock.now = 3600.0
    assert pace.interval() == SLOWEST
    pace.started("b", "train")
    assert pace.interval() == FASTEST


def test_it_is_fast_again_about_the_time_that_such_runs_took_before(pace: Pace, clock: Clock) -> None:
    for number in range(10):
        run(pace, clock, f"run-{number}", 600.0)
    pace.started("next", "train")
    began = clock.now
    seen: dict[int, float] = {}
    for second in (300, 500, 598, 600, 602, 700, 1200):
        clock.now = began + second
        seen[second] = pace.interval()
    assert seen[300] == seen[500] == SLOWEST
    assert seen[598] == seen[600] == seen[602] == FASTEST
    assert FASTEST < seen[700] < seen[1200] == SLOWEST


def test_it_does_not_sleep_past_the_time_at_which_ends_become_likely(pace: Pace, clock: Clock) -> None:
    for number in range(10):
        run(pace, clock, f"run-{number}", 600.0)
    pace.started("next", "train")
    began, clock.now = clock.now, clock.now + 590.0
    assert clock.now + pace.interval() <= began + 600.0


def test_other_kinds_learn_nothing_from_it(pace: Pace, clock: Clock) -> None:
    for number in range(10):
        run(pace, clock, f"run-{number}", 600.0)
    pace.started("other", "evaluate")
    clock.now += 600.0
    assert pace.interval() == SLOWEST


def test_an_end_that_is_told_twice_is_learned_once(pace: Pace, clock: Clock) -> None:
    pace.started("a", "train")
    clock.now += 100.0
    pace.ended("a")
    clock.now += 5000.0
    pace.ended("a")
    pace.left("a")
    pace.started("b", "train")
    clock.now += 100.0
    assert pace.interval() == FASTEST


def test_runs_of_one_step_are_of_one_kind() -> None:
    assert kind_of("chain-train-0123456789") == kind_of("chain-train-abcdefabcd") == "chain-train"
