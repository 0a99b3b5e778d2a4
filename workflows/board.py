"""The state of a meta-run while it runs: folding, no Temporal. `workflows.details` draws it."""

from __future__ import annotations

from datetime import datetime

from workflows.messages import RunSnapshot, StartRun, StepOutcome, StepSnapshot, StepView
from workflows.outcome import EngineRunRef, RunState, StepState


class Board:
    """Holds the snapshot of a run and changes it step by step."""

    def __init__(self, run_id: str, temporal_run_id: str, start: StartRun, now: datetime) -> None:
        definition = start.definition
        self._steps = {
            name: StepSnapshot(name=name, kind=step.kind, engine=step.engine) for name, step in definition.steps.items()
        }
        self._run = RunSnapshot(
            id=run_id,
            workflow=definition.name,
            bundle_digest=start.bundle_digest,
            request_id=start.request_id,
            trigger=start.trigger,
            temporal_run_id=temporal_run_id,
            inputs=start.inputs,
            trace=start.trace,
            cause=start.cause,
            started_at=now,
        )

    def snapshot(self) -> RunSnapshot:
        return self._run.model_copy(update={"steps": list(self._steps.values())})

    def step(self, name: str) -> StepSnapshot:
        return self._steps[name]

    def views(self) -> dict[str, StepView]:
        """What expressions may read: the steps that have ended."""
        return {
            name: StepView(state=step.state, outputs=step.outputs, artifacts=step.artifacts)
            for name, step in self._steps.items()
            if step.state.ended
        }

    def attempt_started(self, name: str, attempt: int, now: datetime) -> None:
        step = self._steps[name]
        self._set(name, state=StepState.RUNNING, attempt=attempt, started_at=step.started_at or now, message="")

    def adopted(self, name: str, ref: EngineRunRef) -> None:
        self._set(name, run=ref)

    def waiting(self, name: str, message: str) -> None:
        """The step is between two attempts."""
        self._set(name, message=message)

    def ended(self, name: str, state: StepState, now: datetime, message: str, outcome: StepOutcome | None) -> None:
        step = self._steps[name]
        self._set(name, state=state, message=message, finished_at=now, started_at=step.started_at or now)
        if outcome is not None:
            self._set(
                name,
                failed_nodes=outcome.failed_nodes,
                outputs=outcome.outputs,
                artifacts=outcome.artifacts,
                nodes=outcome.nodes,
                cached_nodes=outcome.cached_nodes,
            )

    def finish(self, state: RunState, now: datetime, message: str = "") -> None:
        """End the run. Steps that have not started by then were cancelled with it."""
        for name, step in self._steps.items():
            if not step.state.ended:
                self._set(name, state=StepState.CANCELLED, message="not started" if not step.attempt else "cancelled")
        self._run = self._run.model_copy(update={"state": state, "message": message, "finished_at": now})

    def set_outputs(self, outputs: dict[str, object]) -> None:
        self._run = self._run.model_copy(update={"outputs": outputs})

    def failed_steps(self) -> list[StepSnapshot]:
        good = (StepState.SUCCEEDED, StepState.SKIPPED)
        return [s for s in self._steps.values() if s.state.ended and s.state not in good]

    def bad_ends(self) -> set[str]:
        """Steps that have ended other than by success: only the workflow can tell of those."""
        return {s.name for s in self._steps.values() if s.state.ended and s.state is not StepState.SUCCEEDED}

    def runs_on(self) -> bool:
        """Whether the run has not ended, and a step is running."""
        return not self._run.state.ended and any(s.state is StepState.RUNNING for s in self._steps.values())

    def _set(self, name: str, **changes: object) -> None:
        self._steps[name] = self._steps[name].model_copy(update=changes)
