"""What follows an attempt, for every kind of step that has several."""

from __future__ import annotations

from temporalio import workflow

from workflows import calls
from workflows.messages import AskRetry, StepOutcome
from workflows.outcome import FailureClass
from workflows.retry import Decision, History, Policy, asks, decide
from workflows.work import Job


async def what_follows(job: Job, policy: Policy, outcome: StepOutcome, number: int) -> Decision:
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


def last_words(policy: Policy, outcome: StepOutcome, decision: Decision, number: int) -> str:
    """The outcome's message, and why attempts that are left are not used."""
    left = policy.attempts - number
    if left <= 0 or outcome.failure is FailureClass.REJECTED:
        return outcome.message
    return f"{outcome.message}\nnot tried again, {left} left: {decision.reason}"
