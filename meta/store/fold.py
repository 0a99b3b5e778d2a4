"""How news about a run is folded into what is known: pure functions on snapshots.

News comes from the workflow (snapshots) and from activities (attempts), and may be repeated, late, or out of order.
So nothing goes backwards: an attempt's number only rises, within an attempt a state only advances, and what a run's
end has said stands.
"""

from __future__ import annotations

from datetime import datetime

from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import EngineRunRef, FailureClass, Outcome, RunState, StepKind, StepState

STATE_OF_FAILURE = {
    FailureClass.UNAVAILABLE: StepState.FAILED,
    FailureClass.REJECTED: StepState.FAILED,
    FailureClass.FAILED: StepState.FAILED,
    FailureClass.LOST: StepState.LOST,
    FailureClass.TIMED_OUT: StepState.TIMED_OUT,
    FailureClass.CANCELLED: StepState.CANCELLED,
}
_FILLED = ("run", "outputs", "artifacts", "nodes", "cached_nodes", "started_at", "finished_at", "note", "failed_nodes")
_RUN_FILLED = (
    "bundle_digest",
    "request_id",
    "trigger",
    "temporal_run_id",
    "inputs",
    "started_at",
    "temporal_namespace",
    "trace",
    "cause",
    "parent",
    "retry_of",
    "retried_as",
)


def progress(step: StepSnapshot) -> tuple[int, int]:
    """How far a step is: its attempt, then pending, running, ended."""
    return step.attempt, 2 if step.state.ended else 1 if step.state is StepState.RUNNING else 0


def fold_step(known: StepSnapshot | None, news: StepSnapshot) -> StepSnapshot:
    """Take what the workflow says of a step, unless more is known already; keep details that it leaves out."""
    if known is None:
        return news
    if progress(news) < progress(known):
        return known.model_copy(update={"role": news.role})  # which no attempt tells
    return _fill(news, known) if news.attempt == known.attempt else news


def fold_run(known: RunSnapshot, news: RunSnapshot) -> RunSnapshot:
    """Take a snapshot of a whole run. The first that says that the run has ended settles every step."""
    if known.state.ended and not news.state.ended:
        return known
    steps = {step.name: step for step in known.steps}
    if news.state.ended:
        folded = [_fill(s, k) if (k := steps.get(s.name)) and k.attempt == s.attempt else s for s in news.steps]
    else:
        folded = [fold_step(steps.get(step.name), step) for step in news.steps]
    named = {step.name for step in news.steps}
    folded += [step for step in known.steps if step.name not in named]
    missing = {name: getattr(known, name) for name in _RUN_FILLED if not getattr(news, name)}
    return news.model_copy(update=missing | {"steps": folded})


def fold_submitted(
    known: StepSnapshot | None, step: str, ref: EngineRunRef, attempt: int, at: datetime
) -> StepSnapshot:
    """An attempt has its engine run: the step is running, if nothing later is known."""
    base = known or StepSnapshot(name=step, kind=StepKind(ref.kind), engine=ref.engine)
    news = StepSnapshot(
        name=step, kind=StepKind(ref.kind), engine=ref.engine, state=StepState.RUNNING, attempt=attempt, run=ref,
        started_at=base.started_at or at, note="" if base.attempt else base.note, role=base.role,
    )  # fmt: skip
    if progress(news) > progress(base):
        return news
    if base.attempt != attempt:
        return base
    # The workflow may have told of the attempt before, while it still knew the engine run of the last one only.
    return _fill(base, news).model_copy(update={"run": ref})


def fold_ended(
    known: StepSnapshot | None, step: str, ref: EngineRunRef, attempt: int, *, outcome: Outcome, at: datetime
) -> StepSnapshot:
    """An attempt's engine run ended. What the workflow made of it, where it is known, stays."""
    base = known or StepSnapshot(name=step, kind=StepKind(ref.kind), engine=ref.engine)
    news = StepSnapshot(
        name=step, kind=StepKind(ref.kind), engine=ref.engine, attempt=attempt, run=ref, message=outcome.message,
        state=StepState.SUCCEEDED if outcome.failure is None else STATE_OF_FAILURE[outcome.failure],
        failed_nodes=outcome.failed_nodes, outputs=outcome.outputs, artifacts=outcome.artifacts,
        nodes=len(outcome.nodes), cached_nodes=outcome.cached_nodes,
        started_at=base.started_at or outcome.started_at,
        role=base.role,
        finished_at=at,  # by our clock, as started_at is: engines cut theirs to whole seconds
        note=base.note if base.attempt in (0, attempt) else "",
    )  # fmt: skip
    if progress(news) > progress(base):
        return news
    return _fill(base, news) if base.attempt == attempt and base.state.ended else base


def fold_gone(known: RunSnapshot, state: RunState, message: str, at: datetime) -> RunSnapshot:
    """A run that Temporal ended without a last word from its workflow; its engine runs may go on."""
    if known.state.ended:
        return known
    why = "the meta-run ended in Temporal before this step did"
    update = {
        StepState.PENDING: {"state": StepState.SKIPPED, "message": why},
        StepState.RUNNING: {"state": StepState.LOST, "message": why, "finished_at": at},
    }
    steps = [step.model_copy(update=update.get(step.state, {})) for step in known.steps]
    return known.model_copy(update={"state": state, "message": message, "finished_at": at, "steps": steps})


def _fill(step: StepSnapshot, other: StepSnapshot) -> StepSnapshot:
    """Take from `other` what `step` leaves empty; an end only for a step that has ended."""
    names = [n for n in _FILLED if not getattr(step, n) and (n != "finished_at" or step.state.ended)]
    return step.model_copy(update={name: getattr(other, name) for name in names})
