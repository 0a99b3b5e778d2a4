"""Rules as text and as JSON, and what is refused in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta.sandbox.faults import KINDS, EngineName, FaultPlan, FaultRule, Kind, parse_rule, parse_rules
from meta.sandbox.faults.kinds import VERBS
from meta.sandbox.faults.rules import Match, parse_kinds


def test_a_rule_is_read_with_all_its_options() -> None:
    rule = parse_rule("lost-response: times=1, verb=terminate,name=chain-*,label=team=a ,probability=0.5,per=run")
    assert rule == FaultRule(
        kind=Kind.LOST_RESPONSE,
        match=Match(verb="terminate", name="chain-*", label="team=a"),
        times=1,
        probability=0.5,
        per="run",
    )


def test_rules_stand_apart_by_semicolons_and_kinds_by_dots() -> None:
    assert [str(rule) for rule in parse_rules("slow:delay=2; watch-cut:partial")] == [
        "slow:delay=2.0",
        "watch-cut:partial=true",
    ]
    assert [str(rule) for rule in parse_kinds("lost-response.record-gone")] == [
        "lost-response:times=1",
        "record-gone:times=1",
    ]


@given(
    st.builds(
        FaultRule,
        kind=st.just(Kind.SLOW),
        match=st.builds(Match, verb=st.sampled_from(["", "get"]), name=st.sampled_from(["*", "a-*"])),
        times=st.none() | st.integers(1, 9),
        every=st.none() | st.integers(1, 9),
        after=st.integers(0, 9),
        probability=st.none() | st.floats(0, 1),
        delay=st.none() | st.floats(0, 9),
        per=st.sampled_from(["server", "run"]),
    )
)
def test_what_a_rule_prints_is_read_as_the_same_rule(rule: FaultRule) -> None:
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lost-respnse", 'there is no fault "lost-respnse"; there are lost-response, lost-request'),
        ("lost-response:tmies=1", "tmies: Extra inputs are not permitted"),
        ("lost-response:times=0", "times: Input should be greater than or equal to 1"),
        ("lost-response:delay=2", "lost-response has no delay"),
        ("lost-response:verb=watch", "not for streams; use watch-cut"),
        ("slow:partial", "slow has no partial"),
        ("quota-conflict:verb=get", "quota-conflict is about create only, not get"),
        ("slow:probability=2", "probability: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("?", r"\?")):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "engine", "on_run", "reason"),
    [
        ("watch-cut", EngineName.KFP, False, "watch-cut is no fault of kfp"),
        ("late-list", EngineName.ARGO, False, "late-list is no fault of argo"),
        ("slow:verb=frob", EngineName.ARGO, False, "argo has no verb frob; it has archived, create"),
        ("slow:label=a=b", EngineName.KFP, False, "have no labels"),
        ("stale-list", EngineName.ARGO, True, "cannot be set on one run"),
        ("slow:name=x", EngineName.ARGO, True, "take out name and label"),
    ],
)
def test_an_engine_refuses_what_it_cannot_do(text: str, engine: EngineName, on_run: bool, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_rule(text).check(engine, on_run=on_run)


def test_a_plan_takes_rules_as_texts_and_as_objects() -> None:
    text = '{"seed": 3, "rules": ["slow:delay=1", {"kind": "lost-response", "match": {"verb": "retry"}, "times": 2}]}'
    plan = FaultPlan.model_validate_json(text)
    assert [str(rule) for rule in plan.rules] == ["slow:delay=1.0", "lost-response:times=2,verb=retry"]


def test_the_table_is_whole() -> None:
    assert set(KINDS) == set(Kind)
    for kind, info in KINDS.items():
        rule = FaultRule(kind=kind)
        for engine in info.engines:
            rule.check(engine)
            assert {*info.verbs, info.default} - {""} <= set(VERBS[engine]), kind
        assert info.summary and info.mirrors, kind


def test_an_option_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="verb stands twice"):
        parse_rule("slow:verb=list,verb=get")
