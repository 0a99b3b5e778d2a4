from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.outcome import FailureClass
from workflows.retry import MAX_BACKOFF, STATE_OF, Action, decide
from workflows.spec.models import Retry

STRATEGIES = ("resume", "restart")


@pytest.mark.parametrize(("failure", "strategy", "attempt"), list(product(FailureClass, STRATEGIES, (1, 2, 3))))
def test_every_class_strategy_and_attempt_leads_to_the_documented_action(
    failure: FailureClass, strategy: str, attempt: int
) -> None:
    policy = Retry.model_validate({"attempts": 3, "strategy": strategy, "backoff": "1s"})
    if failure not in (FailureClass.FAILED, FailureClass.TIMED_OUT) or attempt == 3:
        expected = Action.GIVE_UP
    elif failure is FailureClass.FAILED and strategy == "resume":
        expected = Action.RESUME
    else:
        expected = Action.RESTART
    assert decide(failure, policy, attempt).action is expected


def test_every_class_has_a_state() -> None:
    assert set(STATE_OF) == set(FailureClass)


@given(attempt=st.integers(1, 10_000), seconds=st.integers(0, 100_000))
def test_delays_never_exceed_the_limit_and_never_shrink(attempt: int, seconds: int) -> None:
    policy = Retry.model_construct(attempts=20_000, strategy="restart", backoff=timedelta(seconds=seconds))
    first = decide(FailureClass.FAILED, policy, attempt).delay
    second = decide(FailureClass.FAILED, policy, attempt + 1).delay
    assert timedelta(0) <= first <= second <= MAX_BACKOFF
