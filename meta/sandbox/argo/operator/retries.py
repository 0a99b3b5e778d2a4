"""`retryStrategy`: whether a failed attempt is followed by another (processNodeRetries)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Context, OperationError
from meta.sandbox.argo.state.status import NodeStatus, Phase

POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1, "": 1}
_TRANSIENT = ("connection refused", "connection reset", "i/o timeout", "transient", "pod deleted")


def duration(text: str) -> timedelta:
    """Read `10`, `30s`, `1h30m`.

    Raises:
        OperationError: not a duration.
    """
    if not text or _DURATION.sub("", text):
        raise OperationError(f"unable to parse {text} as a duration")
    return timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(text)))


def assess(
    context: Context, parent: NodeStatus, attempts: Sequence[NodeStatus], strategy: m.RetryStrategy, *, on_exit: bool
) -> bool:
    """After a finished attempt: mark the parent, or say that another attempt is due.

    Returns:
        True if another attempt is to start now. False: the parent is fulfilled, or waits for its backoff.
    """
    last, nodes = attempts[-1], context.nodes
    if not last.phase.unsuccessful:
        parent.outputs = last.outputs
        nodes.mark(parent, Phase.SUCCEEDED)
        return False
    if (message := _end_of_workflow(context, on_exit=on_exit)) is not None:
        return _give_up(context, parent, last, message)
    policy = strategy.retry_policy or "OnFailure"
    transient = policy == "OnTransientError" and any(text in (last.message or "").lower() for text in _TRANSIENT)
    wanted = {"Always": True, "OnFailure": last.phase is Phase.FAILED, "OnError": last.phase is Phase.ERROR}
    if not wanted.get(policy, transient):
        return _give_up(context, parent, last, last.message or "")
    limit = _number(strategy.limit)
    if limit is not None and len(attempts) > limit:
        return _give_up(context, parent, last, "No more retries left")
    if strategy.backoff is None:
        return True
    return _backoff(context, parent, attempts, strategy.backoff)


def _end_of_workflow(context: Context, *, on_exit: bool) -> str | None:
    if not context.workflow.shutdown.allows(on_exit=on_exit):
        return f"Stopped with strategy '{context.workflow.shutdown}'"
    return "retry exceeded workflow deadline" if context.overdue and not on_exit else None


def _give_up(context: Context, parent: NodeStatus, last: NodeStatus, message: str) -> bool:
    parent.outputs = last.outputs
    context.nodes.mark(parent, last.phase, message)
    return False


def _backoff(context: Context, parent: NodeStatus, attempts: Sequence[NodeStatus], backoff: m.Backoff) -> bool:
    last = attempts[-1]
    wait = duration(backoff.duration or "")
    wait *= (_number(backoff.factor) or 1) ** (len(attempts) - 1)
    if backoff.cap:
        wait = min(wait, duration(backoff.cap))
    due = (last.finished_at or context.now) + wait
    if backoff.max_duration:
        end = (attempts[0].started_at or context.now) + duration(backoff.max_duration)
        if context.now > end:
            return _give_up(context, parent, last, "Max duration limit exceeded")
        if due > end:
            return _give_up(context, parent, last, "Backoff would exceed max duration limit")
    if context.now < due:
        parent.message = f"Backoff for {wait}"
        context.wake(due)
        return False
    parent.message = None
    return True


def last_retry(attempts: Sequence[NodeStatus]) -> dict[str, str | None]:
    """What the tags `lastRetry.*` of the next attempt stand for."""
    if not attempts:
        return {f"lastRetry.{key}": value for key, value in _NONE.items()}
    last = attempts[-1]
    seconds = (last.finished_at - last.started_at).total_seconds() if last.finished_at and last.started_at else 0
    return {
        "lastRetry.exitCode": (last.outputs.exit_code if last.outputs else None) or "0",
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
