"""What a change of a run adds to the counts, each transition once: pure functions on snapshots.

That a run starts or ends shows in the snapshots before and after. That a step has ended does not: an attempt that
failed leaves its step as a failed last attempt does, and only the workflow knows that there is no other. So the names
of the steps that were counted stand with the run's row, written in the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import FailureClass, Node, Outcome, StepState


@dataclass(frozen=True, slots=True)
class Transitions:
    """What happened to a run with one change.

    Attributes:
        started: it came to be known, with the name of its meta-workflow.
        ended: the run has ended.
        steps: those that have ended, for good.
    """

    started: bool
    ended: bool
    steps: Sequence[StepSnapshot]

    @property
    def any(self) -> bool:
        return self.started or self.ended or bool(self.steps)


def transitions(
    before: RunSnapshot | None, after: RunSnapshot, final: Collection[str] | None, counted: Collection[str]
) -> Transitions:
    """What is to be counted of a change.

    Args:
        before: the run before the change; None: it was not known.
        after: and after it.
        final: steps that the workflow, who tells of the change, calls ended; None: an attempt tells. A step whose
            attempt succeeded has ended, too, and so have all once the run has.
        counted: names of the steps that were counted before.
    """
    if before is not None and before.state.ended:
        return Transitions(False, False, ())  # the first end that is known stands
    ended = [
        step
        for step in after.steps
        if step.state.ended
        and step.name not in counted
        and (after.state.ended or step.state is StepState.SUCCEEDED or step.name in (final or ()))
    ]
    started = bool(after.workflow) and (before is None or not before.workflow)
    return Transitions(started, after.state.ended, ended)


def failure_of(step: StepSnapshot, known: Mapping[tuple[str, int], str]) -> str:
    """Class of failure of a step that has ended; empty where it has none.

    Args:
        step: after its end.
        known: what the store has of attempts, by step and number. One that failed and is not there had no engine run,
            so it was refused.
    """
    if step.state in (StepState.SUCCEEDED, StepState.SKIPPED):
        return ""
    if step.state is not StepState.FAILED:
        return step.state.value
    otherwise = FailureClass.REJECTED if step.run is None and step.items is None else FailureClass.FAILED
    return known.get((step.name, step.attempt), otherwise.value) or otherwise.value


def leaves(outcome: Outcome) -> list[Node]:
    """Nodes that hold no others: pods and tasks, not what groups them."""
    parents = {node.parent for node in outcome.nodes}
    return [node for node in outcome.nodes if node.id not in parents]


def queue_time(outcome: Outcome) -> float | None:
    """Seconds from the engine run's start to its first pod's or task's, by the engine's clock.

    Returns:
        None when the engine tells one of them not, or nothing of its own was run.
    """
    begun = [node.started_at for node in leaves(outcome) if node.started_at is not None and not node.cached]
    if outcome.started_at is None or not begun:
        return None
    return max((min(begun) - outcome.started_at).total_seconds(), 0.0)
