"""What follows an attempt: every class, strategy, policy and history."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.outcome import FailureClass
from workflows.retry import (
    ASKED,
    DEFAULT_RETRY_ON,
    MAX_BACKOFF,
    STATE_OF,
    Action,
    History,
    Policy,
    asks,
    decide,
    policy_of,
)
from workflows.spec.steps import RETRYABLE, Step

STRATEGIES = ("resume", "restart", "auto")
ON_LOST = ("fail", "restart")
ATTEMPTS = 3

# Without retryOn, with attempts left: what follows, by class and strategy. Everything else gives up.
TABLE = {
    (FailureClass.FAILED, "resume"): Action.RESUME,
    (FailureClass.FAILED, "restart"): Action.RESTART,
    (FailureClass.FAILED, "auto"): Action.RESUME_OR_RESTART,
    (FailureClass.TIMED_OUT, "resume"): Action.RESTART,
    (FailureClass.TIMED_OUT, "restart"): Action.RESTART,
    (FailureClass.TIMED_OUT, "auto"): Action.RESTART,
}
# Where retryOn or onLost has the class tried again.
MORE = {
    (FailureClass.CANCELLED, "resume"): Action.RESUME,
    (FailureClass.CANCELLED, "restart"): Action.RESTART,
    (FailureClass.CANCELLED, "auto"): Action.RESUME_OR_RESTART,
    (FailureClass.LOST, "resume"): Action.RESTART,
    (FailureClass.LOST, "restart"): Action.RESTART,
    (FailureClass.LOST, "auto"): Action.RESTART,
}


def action(failure: FailureClass, policy: Policy, history: History) -> Action:
    return decide(failure, policy, history).action


@pytest.mark.parametrize(("failure", "strategy", "on_lost"), list(product(FailureClass, STRATEGIES, ON_LOST)))
@pytest.mark.parametrize("attempts", range(1, ATTEMPTS + 2))
@pytest.mark.parametrize("wanted", [None, True, False])
def test_without_retry_on_the_class_the_strategy_and_the_attempts_decide(
    failure: FailureClass, strategy: str, on_lost: str, attempts: int, wanted: bool | None
) -> None:
    policy = Policy(ATTEMPTS, strategy, on_lost=on_lost)  # pyright: ignore[reportArgumentType] -- words of a list
    expected = TABLE.get((failure, strategy), Action.GIVE_UP)
    if failure is FailureClass.LOST and on_lost == "restart":
        expected = MORE[failure, strategy]
    if attempts >= ATTEMPTS:
        expected = Action.GIVE_UP
    assert action(failure, policy, History(attempts, wanted)) is expected


@pytest.mark.parametrize(("failure", "strategy", "named"), list(product(FailureClass, STRATEGIES, FailureClass)))
@pytest.mark.parametrize("attempts", range(1, ATTEMPTS + 2))
def test_a_list_of_classes_tries_again_what_it_names_and_nothing_else(
    failure: FailureClass, strategy: str, named: FailureClass, attempts: int
) -> None:
    policy = Policy(ATTEMPTS, strategy, retry_on=frozenset({named}))  # pyright: ignore[reportArgumentType]
    retried = failure is named and attempts < ATTEMPTS
    expected = (TABLE | MORE).get((failure, strategy), Action.GIVE_UP) if retried else Action.GIVE_UP
    assert action(failure, policy, History(attempts)) is expected


@pytest.mark.parametrize(("failure", "strategy", "on_lost"), list(product(FailureClass, STRATEGIES, ON_LOST)))
@pytest.mark.parametrize(("attempts", "wanted"), list(product(range(1, ATTEMPTS + 2), [None, True, False])))
def test_an_expression_decides_about_what_it_is_asked_and_on_lost_about_the_rest(
    failure: FailureClass, strategy: str, on_lost: str, attempts: int, wanted: bool | None
) -> None:
    policy = Policy(ATTEMPTS, strategy, retry_on=None, on_lost=on_lost)  # pyright: ignore[reportArgumentType]
    retried = bool(wanted) if failure in ASKED else on_lost == "restart"
    known = (TABLE | MORE).get((failure, strategy), Action.GIVE_UP)
    expected = known if retried and attempts < ATTEMPTS else Action.GIVE_UP
    assert action(failure, policy, History(attempts, wanted)) is expected
    assert asks(failure, policy, attempts) is (failure in ASKED and attempts < ATTEMPTS)


def test_without_an_expression_nothing_is_asked() -> None:
    assert not any(asks(failure, Policy(ATTEMPTS), 1) for failure in FailureClass)


def test_every_class_has_a_state_and_a_reason_to_give_up() -> None:
    assert set(STATE_OF) == set(FailureClass)
    for failure in FailureClass:
        assert decide(failure, Policy(), History()).reason


def test_a_step_is_a_policy() -> None:
    step = Step.model_validate(
        {
            "argo": {"template": "x"},
            "retry": {"attempts": 4, "strategy": "auto", "backoff": "5s", "retryOn": ["cancelled", "lost"]},
            "onLost": "restart",
        }
    )
    named = frozenset({FailureClass.CANCELLED, FailureClass.LOST})
    assert policy_of(step) == Policy(4, "auto", timedelta(seconds=5), named, "restart")
    assert policy_of(Step.model_validate({"argo": {"template": "x"}})) == Policy()
    asking = Step.model_validate({"argo": {"template": "x"}, "retry": {"retryOn": "true"}})
    assert policy_of(asking).retry_on is None
    assert frozenset(RETRYABLE) > DEFAULT_RETRY_ON
    assert frozenset(RETRYABLE) == frozenset(f for (f, _) in TABLE | MORE)


POLICIES = st.builds(
    Policy,
    attempts=st.integers(1, 100),
    strategy=st.sampled_from(STRATEGIES),
    backoff=st.timedeltas(timedelta(0), timedelta(days=400)),
    retry_on=st.none() | st.frozensets(st.sampled_from(FailureClass)),
    on_lost=st.sampled_from(ON_LOST),
)


@given(st.sampled_from(FailureClass), POLICIES, st.none() | st.booleans(), st.floats(0, 1))
def test_whatever_happens_the_attempts_end_and_the_delays_have_bounds(
    failure: FailureClass, policy: Policy, wanted: bool | None, jitter: float
) -> None:
    bound, made = timedelta(0), 0
    while True:
        made += 1
        decision = decide(failure, policy, History(made, wanted), jitter)
        if decision.action is Action.GIVE_UP:
            break
        assert made < policy.attempts
        full = decide(failure, policy, History(made, wanted), 1.0).delay
        assert bound <= full <= MAX_BACKOFF
        assert full / 2 - timedelta(microseconds=1) <= decision.delay <= full
        bound = full
    assert made <= policy.attempts


def test_jitter_spreads_the_delays_over_the_upper_half() -> None:
    policy = Policy(9, backoff=timedelta(seconds=8))
    delays = [decide(FailureClass.FAILED, policy, History(2), jitter).delay for jitter in (0.0, 0.5, 1.0)]
    assert delays == [timedelta(seconds=8), timedelta(seconds=12), timedelta(seconds=16)]
