"""One execution of what a step runs: of the step itself, or of one item of its fan-out.

`StepRun` decides whether and with what; here is the shape of the doing, which every kind of step shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workflows.messages import Origin, ResolvedStep, StepOutcome
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, StepState
from workflows.spec.steps import Step


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        origin: of which run.
        name: of the step.
        index: of the item, from 1; 0 without a fan-out. Expressions and people count items from 0.
        step: as the definition has it.
        resolved: parameters and artifacts of this execution.
        cache_key: digest of the work, under which a success is kept to stand for the same; empty: it is not kept.
    """

    origin: Origin
    name: str
    step: Step
    resolved: ResolvedStep
    index: int = 0
    cache_key: str = ""

    def key(self, attempt: int) -> RunKey:
        return RunKey(meta_run=self.origin.run_id, step=self.name, index=self.index, attempt=attempt)

    @property
    def title(self) -> str:
        """What people read of it: `train`, or `train[3]`."""
        return f"{self.name}[{self.index - 1}]" if self.index else self.name


@dataclass(frozen=True, slots=True)
class End:
    """How an execution ended."""

    state: StepState
    message: str = ""
    outcome: StepOutcome | None = None


class Progress(Protocol):
    """Hears how an execution goes on."""

    def attempt_started(self, number: int) -> None: ...

    def adopted(self, ref: EngineRunRef) -> None: ...

    def says(self, message: str) -> None:
        """Something for people to read while the execution goes on."""
        ...

    def child(self, run_id: str) -> None:
        """The meta-run that the execution has started."""
        ...

    def note(self, text: str) -> None:
        """Something for people to read beside the state, which stays. Who has no place for it leaves it out."""

    async def told(self) -> None:
        """Wait until the store knows what has ended before."""
        ...
