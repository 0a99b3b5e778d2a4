"""The state of a meta-run while it runs: folding, no Temporal. `workflows.details` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from workflows.messages import Asked, ItemCounts, RunSnapshot, StartRun, StepOutcome, StepRole, StepSnapshot, StepView
from workflows.outcome import EngineRunRef, RunState, StepState
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import ENGINE_KINDS, Step


def first_steps(definition: MetaWorkflow) -> list[StepSnapshot]:
    """The steps before anything has happened, in the definition's order; compensations come when they are to run."""
    return [
        *(snapshot_of(name, step, StepRole.STEP) for name, step in definition.steps.items()),
        *(snapshot_of(name, step, StepRole.FINALLY) for name, step in definition.finally_.items()),
    ]


def snapshot_of(name: str, step: Step, role: StepRole) -> StepSnapshot:
    return StepSnapshot(name=name, kind=step.kind, engine=step.engine, role=role)


def view_of(step: StepSnapshot) -> StepView:
    """What expressions can see of a step that has ended."""
    return StepView(
        state=step.state,
        outputs=step.outputs,
        artifacts=step.artifacts,
        message=step.message,
        artifact_lists=step.artifact_lists,
        continued=step.continued,
        stored=step.stored,
        items=step.items,
    )


class Board:
    """Holds the snapshot of a run and changes it step by step."""

    def __init__(self, run_id: str, temporal_run_id: str, start: StartRun, now: datetime) -> None:
        definition = start.definition
        self._definition = definition
        self._steps = {step.name: step for step in first_steps(definition)}
        self._succeeded: list[str] = []
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
            parent=start.parent,
            retry_of=start.retry_of,
            started_at=now,
        )

    def snapshot(self) -> RunSnapshot:
        return self._run.model_copy(update={"steps": list(self._steps.values())})

    def step(self, name: str) -> StepSnapshot:
        return self._steps[name]

    def views(self) -> dict[str, StepView]:
        """What expressions may read: the steps that have ended."""
        return {name: view_of(step) for name, step in self._steps.items() if step.state.ended}

    def tell(
        self,
        name: str,
        *,
        items: ItemCounts | None = None,
        asked: Asked | None = None,
        child: str | None = None,
        note: str | None = None,
    ) -> None:
        """What only some kinds of steps have to tell; None leaves it as it is."""
        news = {"items": items, "asked": asked, "child": child, "note": note}
        self._set(name, **{what: value for what, value in news.items() if value is not None})

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
        if state is StepState.SUCCEEDED:
            self._succeeded.append(name)
        if outcome is not None:
            self._set(
                name,
                failed_nodes=outcome.failed_nodes,
                outputs=outcome.outputs,
                artifacts=outcome.artifacts,
                nodes=outcome.nodes,
                cached_nodes=outcome.cached_nodes,
                artifact_lists=outcome.artifact_lists,
                stored=outcome.stored,
                taken_from=outcome.taken_from,
                decision=outcome.decision,
            )

    def continued(self, name: str) -> None:
        """A step has not succeeded, and the run goes on as if it had."""
        self._set(name, continued=True)

    def to_take_back(self) -> list[str]:
        """Steps whose work this run has done and can take back, what was done last the first."""
        steps = self._definition.steps
        return [
            name
            for name in reversed(self._succeeded)
            if name in steps and steps[name].compensate is not None and not self._is_taken(name)
        ]

    def _is_taken(self, name: str) -> bool:
        """Whether this run has done nothing of a step's work: neither it nor, of a fan-out, any of its items."""
        step = self._steps[name]
        return step.taken_from is not None or (step.items is not None and 0 < step.items.taken == step.items.total)

    def add_compensations(self, names: Sequence[str]) -> None:
        """Put compensations that are to run between the steps and those of `finally`."""
        undo = [snapshot_of(name, self._definition.step(name), StepRole.COMPENSATION) for name in names]
        before = [step for step in self._steps.values() if step.role is not StepRole.FINALLY]
        after = [step for step in self._steps.values() if step.role is StepRole.FINALLY]
        self._steps = {step.name: step for step in (*before, *undo, *after)}

    def ending(self, message: str) -> None:
        """The run goes on, but its steps have ended; why it will not succeed, if it will not."""
        self._run = self._run.model_copy(update={"message": message})

    def close(self, role: StepRole) -> None:
        """Steps that have not ended by now will not."""
        for name, step in self._steps.items():
            if step.role is role and not step.state.ended:
                self._set(name, state=StepState.CANCELLED, message="not started" if not step.attempt else "cancelled")

    def finish(self, state: RunState, now: datetime, message: str = "") -> None:
        """End the run. Steps that have not started by then were cancelled with it."""
        for role in StepRole:
            self.close(role)
        self._run = self._run.model_copy(update={"state": state, "message": message, "finished_at": now})

    def set_outputs(self, outputs: dict[str, object]) -> None:
        self._run = self._run.model_copy(update={"outputs": outputs})

    def failed_steps(self, role: StepRole = StepRole.STEP) -> list[StepSnapshot]:
        """Steps that fail the run."""
        good = (StepState.SUCCEEDED, StepState.SKIPPED)
        steps = (s for s in self._steps.values() if s.role is role)
        return [s for s in steps if s.state.ended and s.state not in good and not s.continued]

    def running(self) -> list[str]:
        return [name for name, step in self._steps.items() if step.state is StepState.RUNNING]

    def own_news(self) -> set[str]:
        """What only the workflow can tell, a word for each thing: ends that no activity saw, and what steps wait for.

        That an attempt on an engine begins or succeeds is told by its activities.
        """
        return {word for step in self._steps.values() for word in _own_news(step)}

    def runs_on(self) -> bool:
        """Whether the run has not ended, and a step is running."""
        return not self._run.state.ended and any(s.state is StepState.RUNNING for s in self._steps.values())

    def _set(self, name: str, **changes: object) -> None:
        self._steps[name] = self._steps[name].model_copy(update=changes)


def _own_news(step: StepSnapshot) -> Iterator[str]:
    by_activities = step.kind in ENGINE_KINDS and step.taken_from is None and step.items is None
    if step.state.ended and not (by_activities and step.state is StepState.SUCCEEDED):
        yield step.name
    elif step.state is StepState.RUNNING and step.kind not in ENGINE_KINDS:
        yield f"{step.name}/{step.attempt}"
    if step.role is not StepRole.STEP and step.state is StepState.RUNNING:
        yield f"{step.name}/{step.role}"  # whose role no activity tells
    if step.items is not None and step.state is StepState.RUNNING:
        yield f"{step.name}/items/{_tenths(step.items)}"
    if step.asked is not None:
        yield f"{step.name}/asked"
    if step.child:
        yield f"{step.name}/{step.child}"
    if step.note:
        yield f"{step.name}/note"


def _tenths(items: ItemCounts) -> int:
    """How far a fan-out is: not each of thousands of items is news."""
    return (items.succeeded + items.failed) * 10 // max(items.total, 1)
