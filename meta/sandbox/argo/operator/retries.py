"""`retryStrategy`: whether a failed attempt is followed by another (processNodeRetries)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from hera.workflows import models as m

from meta.sandbox.argo.expressions import ExpressionError, compile_expression, environment
from meta.sandbox.argo.operator.context import Context, OperationError
from meta.sandbox.argo.operator.durations import duration, humanize
from meta.sandbox.argo.state.status import NodeStatus, Phase

POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_TRANSIENT = (  # util/errors/errors.go
    "unexpected error when reading response body", "stream error when reading response body",
    "Connection closed by foreign host", "net/http: TLS handshake timeout", "i/o timeout", "connection timed out",
    "connection reset by peer", "http2: client connection lost", "http2: server sent GOAWAY and closed the connection",
    "request did not complete within requested timeout", "connect: connection refused", "invalid connection",
    "etcdserver: leader changed", "etcdserver: request timed out", "etcdserver: too many requests",
    "client rate limiter Wait returned an error", "upper: no more rows in",
)  # fmt: skip
_LONGEST = timedelta(days=36500)


def assess(
    context: Context, parent: NodeStatus, attempts: Sequence[NodeStatus], strategy: m.RetryStrategy, *, on_exit: bool
) -> bool:
    """After a finished attempt: mark the parent, or say that another attempt is due.

    Returns:
        True if another attempt is to start now. False: the parent is fulfilled, or waits for its backoff.

    Raises:
        OperationError: the strategy's numbers, durations or expression cannot be read.
    """
    last = attempts[-1]
    if not last.phase.unsuccessful:
        parent.outputs = last.outputs
        context.nodes.mark(parent, Phase.SUCCEEDED)
        return False
    limit = _number(strategy.limit)
    reason = _end_of_workflow(context, on_exit=on_exit)
    if reason is None and strategy.backoff is not None:
        reason, due = _backoff(context, attempts, strategy.backoff)
        if reason is None and context.now < due and limit is not None and len(attempts) <= limit:
            parent.message = f"Backoff for {humanize(_wait(attempts, strategy.backoff))}"
            context.wake(due)
            return False
        parent.message = None
    if reason is None:
        reason = _refusal(attempts, strategy, limit)
    if reason is None:
        return True
    parent.outputs = last.outputs
    context.nodes.mark(parent, last.phase, reason)
    return False


def _end_of_workflow(context: Context, *, on_exit: bool) -> str | None:
    if not context.workflow.shutdown.allows(on_exit=on_exit):
        return f"Stopped with strategy '{context.workflow.shutdown}'"
    if context.overdue and not on_exit:
        status, seconds = context.workflow.status, context.workflow.spec.active_deadline_seconds
        deadline = (status.started_at or context.now) + timedelta(seconds=seconds or 0)
        return f"retry exceeded workflow deadline {deadline:%Y-%m-%d %H:%M:%S +0000 UTC}"
    return None


def _wait(attempts: Sequence[NodeStatus], backoff: m.Backoff) -> timedelta:
    wait, factor = duration(backoff.duration or ""), _number(backoff.factor) or 0
    if factor > 0:
        times = factor ** (len(attempts) - 1)
        wait = wait * times if wait * times <= _LONGEST else _LONGEST
    return min(wait, duration(backoff.cap)) if backoff.cap else wait


def _backoff(context: Context, attempts: Sequence[NodeStatus], backoff: m.Backoff) -> tuple[str | None, datetime]:
    """Why there is no time for another attempt, and when the next may start."""
    due = (attempts[-1].finished_at or context.now) + _wait(attempts, backoff)
    end = retry_deadline(attempts, backoff)
    if end is not None and context.now > end:
        return "Max duration limit exceeded", due
    if end is not None and due > end:
        return "Backoff would exceed max duration limit", due
    return None, due


def retry_deadline(attempts: Sequence[NodeStatus], backoff: m.Backoff | None) -> datetime | None:
    """When `maxDuration` is over, which also ends the attempts after the first."""
    if backoff is None or not backoff.max_duration or not attempts or attempts[0].started_at is None:
        return None
    return attempts[0].started_at + duration(backoff.max_duration)


def _refusal(attempts: Sequence[NodeStatus], strategy: m.RetryStrategy, limit: int | None) -> str | None:
    last = attempts[-1]
    policy = strategy.retry_policy or ("Always" if strategy.expression else "OnFailure")
    transient = policy == "OnTransientError" and any(text in (last.message or "") for text in _TRANSIENT)
    wanted = {"Always": True, "OnFailure": last.phase is Phase.FAILED, "OnError": last.phase is Phase.ERROR}
    if not wanted.get(policy, transient):
        return last.message or ""
    if limit is not None and len(attempts) > limit:
        return "No more retries left"
    if strategy.expression:
        values = {"retries": str(len(attempts) - 1), **last_retry(attempts, no_exit_code="-1")}
        try:
            if not compile_expression(strategy.expression).holds(environment(values)):
                return "retryStrategy.expression evaluated to false"
        except ExpressionError as error:
            raise OperationError(str(error)) from error
    return None


def last_retry(attempts: Sequence[NodeStatus], *, no_exit_code: str = "0") -> dict[str, str | None]:
    """What `lastRetry.*` stands for after these attempts.

    Args:
        attempts: those before.
        no_exit_code: what stands for an attempt without one.
    """
    if not attempts:
        return {f"lastRetry.{key}": value for key, value in _NONE.items()}
    last = attempts[-1]
    seconds = (last.finished_at - last.started_at).total_seconds() if last.finished_at and last.started_at else 0
    return {
        "lastRetry.exitCode": (last.outputs.exit_code if last.outputs else None) or no_exit_code,
        "lastRetry.duration": f"{seconds:g}",
        "lastRetry.status": str(last.phase),
        "lastRetry.message": last.message or "",
    }


_NONE = {"exitCode": "0", "duration": "0", "status": "", "message": ""}


def _number(value: object) -> int | None:
    """An IntOrString as a number.

    Raises:
        OperationError: it is none.
    """
    if value is None:
        return None
    try:
        return int(str(getattr(value, "root", value)))
    except ValueError as error:
        raise OperationError(f"{value} is not a number") from error
