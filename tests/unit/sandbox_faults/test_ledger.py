"""Which faults happen when: counts and seeded draws."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meta.sandbox.faults import FaultPlan, Kind, parse_rule, parse_rules
from meta.sandbox.faults.ledger import Ledger, Occasion

ALL = frozenset(Kind)


def ledger(*rules: str, seed: int = 0) -> Ledger:
    return Ledger(FaultPlan(seed=seed, rules=tuple(parse_rule(rule) for rule in rules)))


def happens(faults: Ledger, verb: str = "get", run: str = "a", **labels: str) -> bool:
    return faults.first(ALL, Occasion(verb, run, labels)) is not None


def test_times_every_and_after_count_all_requests_that_a_rule_is_about() -> None:
    assert [happens(ledger("slow:times=2")) for _ in range(1)] == [True]
    twice, third, later = ledger("slow:times=2"), ledger("slow:every=3"), ledger("slow:after=2,times=1")
    runs = ["a", "b", "c", "a", "b", "c"]
    assert [happens(twice, run=run) for run in runs] == [True, True, False, False, False, False]
    assert [happens(third, run=run) for run in runs] == [False, False, True, False, False, True]
    assert [happens(later, run=run) for run in runs] == [False, False, True, False, False, False]


def test_a_rule_can_count_each_run_by_itself() -> None:
    faults = ledger("slow:times=1,per=run")
    assert [happens(faults, run=run) for run in ("a", "b", "a", "b")] == [True, True, False, False]


def test_a_rule_is_about_its_verb_name_and_label_only() -> None:
    faults = ledger("slow:verb=get,name=chain-*,label=team=a")
    assert happens(faults, "get", "chain-1", team="a")
    assert not happens(faults, "list", "chain-1", team="a")
    assert not happens(faults, "get", "other", team="a")
    assert not happens(faults, "get", "chain-1", team="b")
    assert happens(ledger("slow:label=team"), team="b")


def test_health_checks_and_metadata_go_wrong_only_when_named() -> None:
    assert not happens(ledger("unavailable"), "health")
    assert happens(ledger("unavailable:verb=health"), "health")
    assert not happens(ledger("unavailable"), "metadata")


def test_the_first_rule_that_happens_is_taken_and_the_others_are_not_counted() -> None:
    faults = ledger("unavailable:times=1", "server-error:times=1")
    taken = [faults.first(ALL, Occasion("get", "a")) for _ in range(3)]
    assert [rule and rule.kind for rule in taken] == [Kind.UNAVAILABLE, Kind.SERVER_ERROR, None]
    assert [(matched, fired) for _, matched, fired in faults.tally()] == [(3, 1), (2, 1)]


def test_rules_on_a_run_are_its_own() -> None:
    faults = ledger()
    marked = Occasion("get", "a", own=parse_rules("slow:times=1"))
    assert [faults.first(ALL, occasion) is not None for occasion in (marked, marked, Occasion("get", "b"))] == [
        True,
        False,
        False,
    ]
    assert faults.tally_of_runs() == {"a 0 slow:times=1": 1}


@given(st.integers(), st.lists(st.sampled_from("abc"), max_size=40))
def test_a_run_meets_the_same_faults_whatever_other_runs_do(seed: int, order: list[str]) -> None:
    rules = ("slow:probability=0.5", "unavailable:probability=0.3,times=2,per=run")
    together = ledger(*rules, seed=seed)
    seen = [(run, list(map(str, together.decide(ALL, Occasion("get", run))))) for run in order]
    for run in "abc":
        alone = ledger(*rules, seed=seed)
        expected = [list(map(str, alone.decide(ALL, Occasion("get", run)))) for one in order if one == run]
        assert [faults for one, faults in seen if one == run] == expected


def test_another_seed_draws_otherwise() -> None:
    drawn = {
        tuple(happens(faults) for _ in range(32)) for faults in (ledger("slow:probability=0.5", seed=n) for n in (1, 2))
    }
    assert len(drawn) == 2
