"""Trying a step's work again: what `workflows.retry` decides, with the answer of its expression fetched first."""

from __future__ import annotations

from temporalio import workflow

from workflows import calls
from workflows.messages import AskRetry, StepOutcome
from workflows.outcome import FailureClass
from workflows.retry import Decision, History, asks, decide, policy_of
from workflows.spec.steps import Step


async def decide_after(name: str, step: Step, outcome: StepOutcome, number: int) -> Decision:
    """What follows an attempt. The expression of `retryOn` is evaluated outside, once: its answer is recorded.

    Args:
        name: of the step.
        step: as the definition has it.
        outcome: how the attempt failed.
        number: of the attempt.

    Raises:
        ActivityError: the expression cannot be computed.
    """
    failure, policy = outcome.failure, policy_of(step)
    assert failure is not None  # else nothing is to be decided
    wanted = None
    expression = step.retry.retry_on
    if isinstance(expression, str) and asks(failure, policy, number):
        wanted = await calls.ask_retry(AskRetry(step=name, expression=expression, attempt=number, outcome=outcome))
    # The workflow's own random numbers are the same in every replay.
    return decide(failure, policy, History(number, wanted), workflow.random().random())


def last_words(step: Step, outcome: StepOutcome, decision: Decision, number: int) -> str:
    """The outcome's message, and why attempts that are left are not used."""
    left = step.retry.attempts - number
    if left <= 0 or outcome.failure is FailureClass.REJECTED:
        return outcome.message
    return f"{outcome.message}\nnot tried again, {left} left: {decision.reason}"
