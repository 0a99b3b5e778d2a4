"""How an approval looks in a terminal: what is asked, how to decide, how it was decided."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from rich.text import Text

from workflows.messages import Asked, Decision, StepSnapshot
from workflows.outcome import StepState

_WAITS = {"fail": "then the step has timed out", "approve": "then it counts as approved", "reject": "then as rejected"}


def approval_lines(run_id: str, step: StepSnapshot) -> Iterator[Text]:
    """Of a step that asks: what, and the command; of one that is decided: by whom. Nothing of other steps."""
    if step.decision is not None:
        yield Text(f"{step.name}: {decision_words(step.decision)}")
    elif step.asked is not None and step.state is StepState.RUNNING:
        yield Text(f"{step.name} asks:", style="bold")
        yield from asked_lines(step.asked)
        yield Text(f"  to decide: {command(run_id, step.name, step.asked)}   (or: meta reject ...)", style="yellow")


def asked_lines(asked: Asked) -> Iterator[Text]:
    """What is asked, indented."""
    for line in asked.prompt.splitlines():
        yield Text(f"  {line}")
    for name, value in asked.parameters.items():
        yield Text(f"  {name} = {json.dumps(value, ensure_ascii=False)}")
    for name, artifact in asked.artifacts.items():
        digest = f" sha256:{artifact.sha256[:12]}" if artifact.sha256 else ""
        yield Text(f"  {name}: {artifact.uri}{digest}")
    if asked.approvers:
        yield Text(f"  may decide: {', '.join(asked.approvers)}", style="dim")
    if asked.deadline is not None:
        words = f"  until {asked.deadline:%Y-%m-%d %H:%M:%S} UTC, {_WAITS.get(asked.on_timeout, asked.on_timeout)}"
        yield Text(words, style="dim")


def decision_words(decision: Decision) -> str:
    """`approved by ann at 2026-01-02 03:04:05 UTC: looks good`."""
    word = "approved" if decision.approved else "rejected"
    why = f": {decision.reason}" if decision.reason else ""
    return f"{word} by {decision.by or 'its time-out'} at {decision.at:%Y-%m-%d %H:%M:%S} UTC{why}"


def command(run_id: str, step: str, asked: Asked) -> str:
    """What approves exactly this."""
    return f"meta approve {shlex.quote(run_id)} --step {step} --digest {asked.digest}"
