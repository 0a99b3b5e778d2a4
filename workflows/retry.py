"""What happens after an attempt that did not succeed: one pure function, one budget.

| class       | costs an attempt | then                                                                       |
|-------------|------------------|----------------------------------------------------------------------------|
| unavailable | no               | never comes here: the activity tries again with backoff                    |
| rejected    | yes              | the step fails at once: the same would be refused again                    |
| failed      | yes              | tried again, unless `retryOn` leaves it out; by `strategy`                 |
| timed_out   | yes              | the same, but always as a new engine run: the old one was ended            |
| cancelled   | yes              | the step is cancelled, unless `retryOn` has it: somebody wanted the end    |
| lost        | yes              | the step is lost, unless `onLost` or `retryOn` has it run anew: it may have |
|             |                  | done its work                                                              |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from workflows.outcome import FailureClass, StepState
from workflows.spec.steps import Step

MAX_BACKOFF = timedelta(minutes=10)

DEFAULT_RETRY_ON = frozenset({FailureClass.FAILED, FailureClass.TIMED_OUT})
"""What is tried again without a `retryOn`."""

ASKED = frozenset({FailureClass.FAILED, FailureClass.TIMED_OUT, FailureClass.CANCELLED})
"""What an expression of `retryOn` is asked about. A lost run has no outcome to look at: `onLost` decides."""

RESUMABLE = frozenset({FailureClass.FAILED, FailureClass.CANCELLED})
"""After which a run still stands at the engine and can be retried in place. A time-out has us end the run."""


class Action(StrEnum):
    RESUME = "resume"
    RESUME_OR_RESTART = "resume_or_restart"
    RESTART = "restart"
    GIVE_UP = "give_up"

    @property
    def in_place(self) -> bool:
        return self in (Action.RESUME, Action.RESUME_OR_RESTART)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a step says about trying again.

    Attributes:
        retry_on: classes that are tried again; None: an expression decides, whose answer is in `History.wanted`.
    """

    attempts: int = 1
    strategy: Literal["resume", "restart", "auto"] = "restart"
    backoff: timedelta = timedelta(seconds=10)
    retry_on: frozenset[FailureClass] | None = DEFAULT_RETRY_ON
    on_lost: Literal["fail", "restart"] = "fail"


@dataclass(frozen=True, slots=True)
class History:
    """What a step has behind it.

    Attributes:
        attempts: how many have ended, this one included. Resumed and restarted ones count alike; a resume that the
            engine refused and the new run in its place are one.
        wanted: what the expression of `retryOn` says of the last one; None when it was not asked.
    """

    attempts: int = 1
    wanted: bool | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, after which delay, or why not."""

    action: Action
    delay: timedelta = timedelta(0)
    reason: str = ""


STATE_OF: dict[FailureClass, StepState] = {
    FailureClass.UNAVAILABLE: StepState.FAILED,
    FailureClass.REJECTED: StepState.FAILED,
    FailureClass.FAILED: StepState.FAILED,
    FailureClass.LOST: StepState.LOST,
    FailureClass.TIMED_OUT: StepState.TIMED_OUT,
    FailureClass.CANCELLED: StepState.CANCELLED,
}
"""The state of a step whose last attempt ended so."""


def policy_of(step: Step) -> Policy:
    retry = step.retry
    if retry.retry_on is None:
        classes: frozenset[FailureClass] | None = DEFAULT_RETRY_ON
    else:
        classes = None if isinstance(retry.retry_on, str) else frozenset(map(FailureClass, retry.retry_on))
    return Policy(retry.attempts, retry.strategy, retry.backoff, classes, step.on_lost)


def asks(failure: FailureClass, policy: Policy, attempts: int) -> bool:
    """Whether the step's expression must be evaluated before `decide` can be called."""
    return policy.retry_on is None and failure in ASKED and attempts < policy.attempts


def decide(failure: FailureClass, policy: Policy, history: History, jitter: float = 1.0) -> Decision:
    """Decide what follows an attempt that did not succeed.

    Args:
        failure: why it did not.
        policy: the step's.
        history: what has been tried, this attempt included.
        jitter: in [0, 1]: where in the upper half of the backoff the delay lies, so that steps that failed together
            do not begin again together.

    Returns:
        The action, and a delay between half of the backoff and the whole of it. The backoff doubles with each
        attempt, from `policy.backoff` up to `MAX_BACKOFF`.
    """
    if refusal := _refusal(failure, policy, history):
        return Decision(Action.GIVE_UP, reason=refusal)
    action = Action.RESTART
    if failure in RESUMABLE and policy.strategy != "restart":
        action = Action.RESUME if policy.strategy == "resume" else Action.RESUME_OR_RESTART
    doublings = min(history.attempts - 1, 20)  # a millisecond doubled twenty times is past the limit
    backoff = min(min(policy.backoff, MAX_BACKOFF) * 2**doublings, MAX_BACKOFF)
    return Decision(action, backoff * (0.5 + 0.5 * min(max(jitter, 0.0), 1.0)))


def _refusal(failure: FailureClass, policy: Policy, history: History) -> str:
    """Why there is no further attempt; empty when there is one."""
    if failure in (FailureClass.UNAVAILABLE, FailureClass.REJECTED):
        return "what is refused is refused again"
    if history.attempts >= policy.attempts:
        return "no attempts are left"
    named = policy.retry_on is not None and failure in policy.retry_on
    if failure is FailureClass.LOST:
        return "" if named or policy.on_lost == "restart" else "it may have done its work (onLost)"
    if policy.retry_on is None:
        return "" if history.wanted else "retryOn is false"
    return "" if named else f"retryOn leaves {failure.value} out"
