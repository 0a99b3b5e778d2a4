from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meta.store.gathering import Held
from meta.triggers.batches import LONGEST, MOST, Rule, due, new_batch, rule_of, split
from workflows.spec.trigger_models import NatsTrigger

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FOREVER = START + timedelta(days=365)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def held(*seconds: float) -> list[Held]:
    """Messages that came at these times."""
    return [Held(f"ev-{n}", f"nats:id:{n}", at(s), "", at(s)) for n, s in enumerate(sorted(seconds))]


def trigger(**fields: object) -> NatsTrigger:
    return NatsTrigger.model_validate({"subject": "a.b", **fields})


def batch(most: int, within: int) -> Rule:
    return rule_of(trigger(batch={"max": most, "within": f"{within}s"}))


def debounce(quiet: int) -> Rule:
    return rule_of(trigger(debounce=f"{quiet}s"))


batches = st.builds(batch, st.integers(1, 7), st.integers(1, 9))
bursts = st.builds(debounce, st.integers(1, 4))
rules = st.one_of(batches, bursts)
arrivals = st.lists(st.floats(0, 60, allow_nan=False).map(lambda s: round(s, 1)), max_size=60)


def names(groups: list[list[Held]]) -> list[list[str]]:
    return [[message.id for message in group] for group in groups]


@given(rules, arrivals)
def test_every_message_is_in_exactly_one_group_and_in_order(rule: Rule, seconds: list[float]) -> None:
    waiting = held(*seconds)
    groups, rest = split(waiting, rule, at(30))
    assert [m for group in (*groups, rest) for m in group] == waiting
    assert all(groups)


@given(rules, arrivals, st.floats(0, 80))
def test_sizes_and_times_hold(rule: Rule, seconds: list[float], now: float) -> None:
    groups, rest = split(held(*seconds), rule, at(now))
    for group in (*groups, rest):
        assert len(group) <= rule.most
        if group:
            assert group[-1].received_at - group[0].received_at <= rule.longest
        if rule.quiet is not None:
            pairs = pairwise(group)
            assert all(later.received_at - earlier.received_at < rule.quiet for earlier, later in pairs)
    if rest:
        assert len(rest) < rule.most
        assert due(rest, rule) > at(now), "what is due does not wait on"


@given(rules, arrivals, st.lists(st.floats(0, 80), max_size=10))
def test_it_does_not_matter_when_and_how_often_somebody_looks(
    rule: Rule, seconds: list[float], looks: list[float]
) -> None:
    waiting, together = held(*seconds), list[list[Held]]()
    for now in sorted(looks):
        seen = [m for m in waiting if m.received_at <= at(now) and not any(m in group for group in together)]
        groups, _ = split(seen, rule, at(now))
        together += [list(group) for group in groups]
    rest = [m for m in waiting if not any(m in group for group in together)]
    together += [list(group) for group in split(rest, rule, FOREVER)[0]]
    assert names(together) == names([list(group) for group in split(waiting, rule, FOREVER)[0]])


def test_a_batch_is_complete_with_so_many_or_so_long_after_the_first() -> None:
    rule = rule_of(trigger(batch={"max": 3, "within": "10s"}))
    groups, rest = split(held(0, 1, 2, 5), rule, at(6))
    assert ([len(group) for group in groups], len(rest)) == ([3], 1)
    assert due(rest, rule) == at(15)
    assert split(held(0, 9), rule, at(9.9)) == ([], held(0, 9))
    assert [len(group) for group in split(held(0, 9), rule, at(10))[0]] == [2]


def test_a_burst_is_complete_when_none_has_come_for_so_long() -> None:
    rule = rule_of(trigger(debounce="2s"))
    burst = held(0, 1, 2.5, 4)
    assert split(burst, rule, at(5.9)) == ([], burst)
    assert [len(group) for group in split(burst, rule, at(6))[0]] == [4]


def test_a_burst_that_never_ends_starts_a_run_now_and_then() -> None:
    rule = rule_of(trigger(debounce="2s"))
    assert [len(g) for g in split(held(*range(50)), rule, FOREVER)[0]] == [20, 20, 10]
    assert rule.longest == LONGEST * timedelta(seconds=2)
    many = held(*(n / 1000 for n in range(MOST + 1)))
    groups, rest = split(many, rule, at(1.1))
    assert ([len(group) for group in groups], len(rest)) == ([MOST], 1)


def test_a_batch_is_called_by_its_members() -> None:
    some = held(1, 2, 3)
    first = new_batch("chain", "sets", some)
    assert first.identity == new_batch("chain", "sets", some).identity
    others = [
        ("other", "sets", some),
        ("chain", "files", some),
        ("chain", "sets", some[:2]),
        ("chain", "sets", some[::-1]),
    ]
    assert len({first.identity, *(new_batch(*other).identity for other in others)}) == 5
    assert len(first.identity) <= 200
