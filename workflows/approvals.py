"""An approval: the step asks, and ends with what a person, or its time-out, decides."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.decisions import Inbox, asked_digest
from workflows.errors import MetaError
from workflows.messages import Asked, Decision, ErrorDetail, ResolvedStep, StepOutcome
from workflows.outcome import FailureClass, StepState
from workflows.spec.durations import format_duration
from workflows.spec.sources import ApprovalSource
from workflows.work import End

DECIDE = "decide"
"""Name of the update, and of the signal."""


def asked_of(source: ApprovalSource, resolved: ResolvedStep) -> Asked:
    """What a step asks, as from now."""
    return Asked(
        prompt=resolved.text,
        parameters=resolved.parameters,
        artifacts=resolved.artifacts,
        approvers=source.approvers,
        digest=asked_digest(resolved.text, resolved.parameters, resolved.artifacts),
        deadline=None if source.timeout is None else workflow.now() + source.timeout,
        on_timeout=source.on_timeout,
    )


async def decided(name: str, asked: Asked, inbox: Inbox, timeout: timedelta | None) -> End:
    """Ask, and wait for the decision.

    Args:
        name: of the step.
        asked: what it asks.
        inbox: where decisions come.
        timeout: until the time-out decides; None: never.

    Raises:
        asyncio.CancelledError: cancelled; the step asks no more.
    """
    inbox.ask(name, asked)
    try:
        await workflow.wait_condition(
            lambda: inbox.decision(name) is not None, timeout=timeout, timeout_summary=f"Time to decide on {name}"
        )
    except TimeoutError:
        if inbox.decision(name) is None:  # one that came in the same moment counts
            assert timeout is not None
            words = f"nobody decided within {format_duration(timeout)}"
            if asked.on_timeout == "fail":
                return End(StepState.TIMED_OUT, words)
            approved = asked.on_timeout == "approve"
            late = Decision(approved=approved, by="", at=workflow.now(), reason=words, digest=asked.digest)
            inbox.decided_by_time(name, late)
    finally:
        inbox.close(name)
    decision = inbox.decision(name)
    assert decision is not None  # the condition
    return _end(decision)


def waiting_words(asked: Asked) -> str:
    """What people read of a step that asks."""
    who = f" by {' or '.join(asked.approvers)}" if asked.approvers else ""
    until = f" until {asked.deadline:%Y-%m-%d %H:%M:%S} UTC" if asked.deadline is not None else ""
    return f"waits for a decision{who}{until}"


def refuse(error: MetaError) -> NoReturn:
    """Answer an update with an error of ours, which does not fail the workflow.

    Raises:
        ApplicationError: always.
    """
    detail = ErrorDetail(code=error.code, message=error.message, hint=error.hint)
    raise ApplicationError(error.message, detail, type=error.code, non_retryable=True) from error


def _end(decision: Decision) -> End:
    outputs = decision.model_dump(mode="json", include={"approved", "by", "at", "reason", "digest"})
    if decision.approved:
        return End(StepState.SUCCEEDED, "", StepOutcome(outputs=outputs, decision=decision))
    why = f": {decision.reason}" if decision.reason else ""
    message = f"rejected by {decision.by or 'its time-out'}{why}"
    outcome = StepOutcome(failure=FailureClass.FAILED, message=message, outputs=outputs, decision=decision)
    return End(StepState.FAILED, message, outcome)
