"""Attempt after attempt, for every kind of step that has several: one loop, and what follows an attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from workflows import calls
from workflows.messages import AskRetry, StepOutcome
from workflows.outcome import FailureClass, StepState
from workflows.retry import STATE_OF, Action, Decision, History, Policy, asks, decide
from workflows.work import End, Job, Progress


async def until_success(
    job: Job, policy: Policy, progress: Progress, attempt: Callable[[int, Action], Awaitable[StepOutcome]]
) -> End:
    """Make attempts until one succeeds or the policy gives up.

    Args:
        job: whose.
        policy: the step's.
        progress: hears of them.
        attempt: makes the one of this number, in the way that was decided; the first is a `RESTART`.

    Raises:
        asyncio.CancelledError: cancelled, and what the attempt had begun has ended.
    """
    action, number = Action.RESTART, 0
    while True:
        number += 1
        progress.attempt_started(number)
        await progress.told()
        outcome = await attempt(number, action)
        if outcome.failure is None:
            return End(StepState.SUCCEEDED, "", outcome)
        try:
            decision = await _what_follows(job, policy, outcome, number)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            return End(STATE_OF[outcome.failure], f"{outcome.message}\nnot tried again: {message_of(error)}", outcome)
        if decision.action is Action.GIVE_UP:
            return End(STATE_OF[outcome.failure], _last_words(policy, outcome, decision, number), outcome)
        action, left = decision.action, policy.attempts - number
        progress.says(f"attempt {number} {outcome.failure.value}: {outcome.message}; {left} left")
        if decision.delay:
            await calls.pause(decision.delay, job.title, number + 1)


def cause_of(error: ActivityError) -> ApplicationError | None:
    return error.cause if isinstance(error.cause, ApplicationError) else None


def message_of(error: ActivityError) -> str:
    """Why an activity failed, for people."""
    cause = cause_of(error)
    return cause.message if cause is not None else str(error.cause or error)


async def _what_follows(job: Job, policy: Policy, outcome: StepOutcome, number: int) -> Decision:
    """What follows an attempt. The expression of `retryOn` is evaluated outside, once: its answer is recorded.

    Args:
        job: whose attempt it was.
        policy: the step's.
        outcome: of the attempt; it has failed.
        number: of the attempt.

    Raises:
        ActivityError: the expression cannot be computed.
    """
    failure = outcome.failure
    assert failure is not None
    wanted = None
    expression = job.step.retry.retry_on
    if isinstance(expression, str) and asks(failure, policy, number):
        wanted = await calls.ask_retry(
            AskRetry(
                step=job.name,
                expression=expression,
                attempt=number,
                outcome=outcome,
                key=job.key(number) if job.index else None,
            )
        )
    # The workflow's own random numbers are the same in every replay.
    return decide(failure, policy, History(number, wanted), workflow.random().random())


def _last_words(policy: Policy, outcome: StepOutcome, decision: Decision, number: int) -> str:
    """The outcome's message, and why attempts that are left are not used."""
    left = policy.attempts - number
    if left <= 0 or outcome.failure is FailureClass.REJECTED:
        return outcome.message
    return f"{outcome.message}\nnot tried again, {left} left: {decision.reason}"
