"""How large the Temporal history of a run will be, before it is run.

Counted on histories of real runs. A step that goes smoothly has: the marker of its expressions, submit and wait with
three events each, and a workflow task, three events too, before each of them. Steps side by side share workflow tasks,
so a wide run has fewer events than this says; retries, time-outs and failures add some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workflows.fanout import Budget, chunk_of, chunks_of
from workflows.outcome import StepKind
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import ENGINE_KINDS
from workflows.values import canonical_json

MAX_EVENTS = 51_200
"""Events at which Temporal ends a run (`limit.historyCount.error`)."""

MAX_BYTES = 50 * 1024 * 1024
"""Bytes at which it does (`limit.historySize.error`)."""

_RUN = (11, 1800)  # start, first task, status, the last word, the end; events and bytes
_RESOLVED = (1, 1000)
_TASK = (3, 350)  # a workflow task
_CALL = (3, 1100)  # an activity
_TIMER = (2, 250)
_CHILD = (4, 1500)


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how many events, and how many bytes.

    Attributes:
        refused: fan-outs that are too large for what is left to those of one run.
    """

    events: int
    bytes: int
    refused: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether Temporal takes so much, and every fan-out would begin."""
        return self.events < MAX_EVENTS and self.bytes < MAX_BYTES and not self.refused


def forecast(definition: MetaWorkflow, items: Mapping[str, int], skipped: frozenset[str] = frozenset()) -> Forecast:
    """Add up what the steps will write.

    Args:
        definition: of the run.
        items: how many items a fan-out has, where that is known; one is counted where it is not.
        skipped: steps that only have their expressions worked out.
    """
    size = len(canonical_json(definition.model_dump(mode="json", exclude_defaults=True)))
    budget = Budget()
    refused: tuple[str, ...] = ()
    events, volume = _RUN[0], _RUN[1] + 2 * size
    for name, step in {**definition.steps, **definition.finally_}.items():
        parts = [_RESOLVED, _TASK]
        if name not in skipped:
            count = items.get(name, 1)
            work = _work(step.kind)
            if step.foreach is None:
                parts += work
            elif budget.takes_inline(count, step.retry.attempts):
                parts += work * count
            else:
                chunks = chunks_of(count, chunk_of(step.retry.attempts))
                parts += [_CHILD, _TASK, _TASK] * chunks
                refused += () if budget.takes_chunks(chunks) else (name,)
        events += sum(part[0] for part in parts)
        volume += sum(part[1] for part in parts) + len(canonical_json(step.parameters))
    return Forecast(events, volume, refused)


def _work(kind: StepKind) -> list[tuple[int, int]]:
    if kind in ENGINE_KINDS:
        return [_CALL, _TASK, _CALL, _TASK]
    if kind is StepKind.WORKFLOW:
        return [_CHILD, _TASK, _TASK]
    if kind is StepKind.ACTIVITY:
        return [_CALL, _TASK]
    return [_TIMER, _TASK]
