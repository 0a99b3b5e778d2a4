"""What happens after an attempt that did not succeed: one pure function, one budget.

| class       | costs an attempt | then                                                              |
|-------------|------------------|-------------------------------------------------------------------|
| unavailable | no               | never comes here: the activity tries again with backoff           |
| rejected    | yes              | the step fails at once: the same manifest is refused again        |
| failed      | yes              | the policy: `resume` in place, or `restart` as a new engine run   |
| timed_out   | yes              | the policy, always as a new engine run: the old one was ended     |
| lost        | yes              | the step is lost: it may have done its work, so no second run     |
| cancelled   | yes              | the step is cancelled: somebody wanted the engine run to end      |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from workflows.outcome import FailureClass, StepState
from workflows.spec.models import Retry

MAX_BACKOFF = timedelta(minutes=10)


class Action(StrEnum):
    RESUME = "resume"
    RESTART = "restart"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, and after which delay."""

    action: Action
    delay: timedelta = timedelta(0)


GIVE_UP = Decision(Action.GIVE_UP)

STATE_OF: dict[FailureClass, StepState] = {
    FailureClass.UNAVAILABLE: StepState.FAILED,
    FailureClass.REJECTED: StepState.FAILED,
    FailureClass.FAILED: StepState.FAILED,
    FailureClass.LOST: StepState.LOST,
    FailureClass.TIMED_OUT: StepState.TIMED_OUT,
    FailureClass.CANCELLED: StepState.CANCELLED,
}
"""The state of a step whose last attempt ended so."""


def decide(failure: FailureClass, policy: Retry, attempt: int) -> Decision:
    """Decide what follows a failed attempt.

    Args:
        failure: why it did not succeed.
        policy: the step's.
        attempt: the attempt that just ended, from 1; resumed attempts count.

    Returns:
        The action, with a delay that doubles from `policy.backoff` up to `MAX_BACKOFF`.
    """
    if failure not in (FailureClass.FAILED, FailureClass.TIMED_OUT) or attempt >= policy.attempts:
        return GIVE_UP
    resumable = failure is FailureClass.FAILED and policy.strategy == "resume"
    doublings = min(attempt - 1, 20)  # a millisecond doubled twenty times is past the limit
    delay = min(min(policy.backoff, MAX_BACKOFF) * 2**doublings, MAX_BACKOFF)
    return Decision(Action.RESUME if resumable else Action.RESTART, delay)
